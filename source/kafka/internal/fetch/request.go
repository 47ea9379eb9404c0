package fetch

import (
	"cmp"
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/records"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// fetchRequest asks one broker for one partition.
type fetchRequest struct {
	version   int16
	topic     string
	id        metadata.TopicID // instead of the name from version 13 on
	partition int32
	epoch     int32 // of the leader as we know it; -1 asks any
	offset    int64
	fetched   int32 // epoch of the batch below offset, -1 if not known: the broker compares it with its own history
	committed bool
	maxWaitMS int32
	maxBytes  int32
	rack      string
}

// newestFetch is the newest version written here. From 13 on topics go by id, so that a topic created again cannot be
// read under the old one's name (KIP-516).
const newestFetch = 13

func (q *fetchRequest) encode() []byte {
	w := wire.Writer{Flexible: wire.Flexible(wire.KeyFetch, q.version)}
	w.I32(-1) // a consumer, no replica
	w.I32(q.maxWaitMS)
	w.I32(1) // the least bytes
	w.I32(q.maxBytes)
	w.Bool(q.committed)
	if q.version >= 7 { // no fetch session (KIP-227): one partition a request has nothing to save
		w.I32(0)
		w.I32(-1)
	}
	w.Length(1)
	if q.version >= 13 {
		w.B = append(w.B, q.id[:]...)
	} else {
		w.Text(q.topic)
	}
	w.Length(1)
	w.I32(q.partition)
	if q.version >= 9 {
		w.I32(q.epoch)
	}
	w.I64(q.offset)
	if q.version >= 12 {
		w.I32(q.fetched)
	}
	if q.version >= 5 {
		w.I64(-1) // start of a follower's log
	}
	w.I32(q.maxBytes)
	w.Tags()
	w.Tags()
	if q.version >= 7 {
		w.Length(0) // topics to forget
	}
	if q.version >= 11 {
		w.Text(q.rack)
	}
	w.Tags()
	return w.B
}

// fetchResponse is the part of a response about the partition. Its records are still in the frame.
type fetchResponse struct {
	throttle              time.Duration // how long the broker asks to wait before the next request
	absent                bool          // the response lacks the partition: a broker that throttles sends no data
	err                   error         // kafka.Error, nil if there is none
	highWatermark, stable int64         // stable: the last stable offset, -1 if not known
	aborted               []records.Aborted
	replica               int32 // the nearer replica to ask instead, -1 for none
	set                   []byte
	cut                   int64 // where the broker's history leaves ours (KIP-595), -1 if it does not
}

func parseFetch(r wire.Reader, q *fetchRequest) (*fetchResponse, error) {
	p := &fetchResponse{highWatermark: -1, stable: -1, replica: -1, cut: -1, absent: true}
	throttle := time.Duration(r.I32()) * time.Millisecond
	if q.version >= 7 {
		if err := wire.CodeError(r.I16()); err != nil {
			p.err = err
		}
		r.I32() // session
	}
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		if q.version >= 13 {
			r.Take(16)
		} else {
			r.Text()
		}
		for n := r.Length(); n > 0 && r.Err == nil; n-- {
			number := r.I32()
			one := parseFetched(&r, q.version)
			if number == q.partition {
				one.err = cmp.Or(p.err, one.err)
				p = one
			}
		}
		r.Tags(nil)
	}
	r.Tags(nil)
	p.throttle = throttle
	return p, r.Err
}

func parseFetched(r *wire.Reader, v int16) *fetchResponse {
	p := &fetchResponse{err: wire.CodeError(r.I16()), highWatermark: r.I64(), stable: r.I64(), replica: -1, cut: -1}
	if v >= 5 {
		r.I64() // start of the log
	}
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		p.aborted = append(p.aborted, records.Aborted{Producer: r.I64(), First: r.I64()})
		r.Tags(nil)
	}
	if v >= 11 {
		p.replica = r.I32()
	}
	p.set = r.Bytes()
	r.Tags(func(tag uint64, value wire.Reader) {
		if tag == 0 { // the diverging epoch
			value.I32()
			p.cut = value.I64()
		}
	})
	return p
}
