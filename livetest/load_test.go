//go:build unix

package livetest

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// begin fills the stream, or produces half of the messages. The rest comes while members work, so that they meet a backlog
// and the end of the log.
func (r *run) begin() {
	r.t.Helper()
	r.source = newKeys(r, r.seed)
	if r.fill != nil {
		r.Produced = r.fill(r)
		r.messages = len(r.Produced)
		return
	}
	r.toCome = r.messages
	r.produce(r.messages / 2)
}

// produce appends messages to the stream and to those that must be settled.
func (r *run) produce(n int) {
	r.t.Helper()
	ms := r.source.next(n)
	r.must(r.cluster.produce(r.t.Context(), ms))
	r.Produced = append(r.Produced, ms...)
	r.toCome -= n
}

// valueOf makes the value of a message, of about 100 bytes.
func valueOf(m *Message) []byte { return fmt.Appendf(nil, "%-90d", m.Number) }

// keys makes messages with skewed keys. Each key is always in the same partition.
type keys struct {
	prefix, stream string
	zipf           *rand.Zipf // the hottest key has about 1 % of the messages, so that its chain is no longer than the rest
	partitions     uint32
	numbers        map[string]int64
}

func newKeys(r *run, seed uint64) *keys {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 20, uint64(r.keys-1))
	return &keys{"k", r.stream, zipf, uint32(r.partitions), map[string]int64{}}
}

func (k *keys) next(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		key := fmt.Sprint(k.prefix, k.zipf.Uint64())
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		ms[i] = Message{Place: Place{k.stream, int32(h.Sum32() % k.partitions)}, Key: key, Number: k.numbers[key]}
		k.numbers[key]++
	}
	return ms
}
