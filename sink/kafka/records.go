package kafka

import (
	"bytes"
	"io"
	"math/bits"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/keystrand/keystrand"
)

// records gives the messages of one batch to the library's encoder, one at a time and without copies of its own.
type records struct {
	ms     []keystrand.Message
	values map[int][]byte // bytes forms made for messages that have a Native and no Value
	batch  []int          // indexes into ms
	next   int
	record protocol.Record
	key    payload
	value  payload
}

type payload struct{ bytes.Reader }

func (*payload) Close() error { return nil }

// rewind makes r read the batch from its start.
func (r *records) rewind(ms []keystrand.Message, values map[int][]byte, batch []int) {
	r.ms, r.values, r.batch, r.next = ms, values, batch, 0
}

// ReadRecord returns the next record, valid until the next call.
func (r *records) ReadRecord() (*protocol.Record, error) {
	if r.next == len(r.batch) {
		return nil, io.EOF
	}
	i := r.batch[r.next]
	r.next++
	m := &r.ms[i]
	r.record.Time, r.record.Key, r.record.Value = m.Time, nil, nil
	if m.Key != nil {
		r.key.Reset(m.Key)
		r.record.Key = &r.key
	}
	if v := valueOf(m, r.values[i]); v != nil {
		r.value.Reset(v)
		r.record.Value = &r.value
	}
	r.record.Headers = r.record.Headers[:0]
	for _, h := range m.Headers {
		r.record.Headers = append(r.record.Headers, protocol.Header{Key: h.Key, Value: h.Value})
	}
	return &r.record, nil
}

func valueOf(m *keystrand.Message, native []byte) []byte {
	if m.Value == nil {
		return native
	}
	return m.Value
}

// batchOverhead is the header of a record batch: https://kafka.apache.org/documentation/#recordbatch.
const batchOverhead = 61

// recordSize returns the bytes of the only record of a batch, and a bound for any other place in one.
func recordSize(m *keystrand.Message, native []byte) (alone, bound int) {
	v := valueOf(m, native)
	n := 1 + 1 + 1 + // attributes, time and offset deltas of the first record
		varLen(len(m.Key)) + len(m.Key) + varLen(len(v)) + len(v) + varLen(len(m.Headers))
	for _, h := range m.Headers {
		n += varLen(len(h.Key)) + len(h.Key) + varLen(len(h.Value)) + len(h.Value)
	}
	alone = varLen(n) + n
	return alone, alone + 9 + 4 + 1 // longer deltas of time and offset, and the length of the record may take a byte more
}

// varLen returns the bytes of n, 0 or more, as a zigzag varint.
func varLen(n int) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 }
