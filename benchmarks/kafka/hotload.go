package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const coldKeys = 10_000

// load is an open loop: each message is due at its time, whether or not earlier ones are handled.
type load struct {
	Cold    int           // messages a second, uniform among coldKeys keys
	Hot     int           // hot keys; their numbers follow those of the cold ones
	HotRate int           // messages a second of each
	Warm    time.Duration // cold messages alone, which are not measured
	Lasts   time.Duration // the rest
}

// arrival is a message of a load.
type arrival struct {
	due time.Duration // since the start
	key int32
	seq int32 // the number of the message among those of its key, from 0
}

// arrivals returns all messages in the order of their times. The same load returns the same messages.
func (l load) arrivals() []arrival {
	var as []arrival
	random := rand.New(rand.NewPCG(1, coldKeys))
	for i := range int(float64(l.Cold) * l.ends().Seconds()) {
		as = append(as, arrival{due: time.Second * time.Duration(i) / time.Duration(l.Cold), key: int32(random.IntN(coldKeys))})
	}
	for hot := range l.Hot {
		for i := range int(float64(l.HotRate) * l.Lasts.Seconds()) {
			nth := i*l.Hot + hot // so that the hot keys take turns
			due := l.Warm + time.Second*time.Duration(nth)/time.Duration(l.HotRate*l.Hot)
			as = append(as, arrival{due: due, key: int32(coldKeys + hot)})
		}
	}
	slices.SortStableFunc(as, func(a, b arrival) int { return cmp.Compare(a.due, b.due) })
	next := make([]int32, coldKeys+l.Hot)
	for i := range as {
		as[i].seq = next[as[i].key]
		next[as[i].key]++
	}
	return as
}

// ends returns the time of the last message since the start.
func (l load) ends() time.Duration { return l.Warm + l.Lasts }

// measured reports whether the latency of a message counts: it is cold and due after the warm-up.
func (l load) measured(a arrival) bool { return a.key < coldKeys && a.due >= l.Warm }

// record returns the message of an arrival of a load that starts at the given time, with a value of 100 bytes.
func (a arrival) record(start time.Time) (partition int32, key, value []byte) {
	value = binary.BigEndian.AppendUint64(make([]byte, 0, 100), uint64(start.UnixNano()))
	value = binary.BigEndian.AppendUint64(value, uint64(a.due))
	value = binary.BigEndian.AppendUint32(value, uint32(a.key))
	value = binary.BigEndian.AppendUint32(value, uint32(a.seq))
	return a.key % partitions, fmt.Appendf(nil, "key-%d", a.key), value[:cap(value)]
}

// readArrival is the inverse of record.
func readArrival(value []byte) (a arrival, start time.Time) {
	start = time.Unix(0, int64(binary.BigEndian.Uint64(value)))
	a.due = time.Duration(binary.BigEndian.Uint64(value[8:]))
	a.key, a.seq = int32(binary.BigEndian.Uint32(value[16:])), int32(binary.BigEndian.Uint32(value[20:]))
	return a, start
}
