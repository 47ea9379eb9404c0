package kafka

import (
	"bytes"
	"io"
	"math/bits"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/keystrand/keystrand"
)

// records is a reader of the messages of one batch for the library's encoder. It does not copy their bytes.
type records struct {
	ms     []keystrand.Message
	values map[int][]byte // encoded values of messages with a Native and no Value
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

// ReadRecord returns the next record. It is valid until the next call.
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

// batchOverhead is the number of bytes in the header of a record batch: https://kafka.apache.org/documentation/#recordbatch.
const batchOverhead = 61

// recordSize returns the size of m as the only record of a batch, and an upper bound for its size in any batch.
func recordSize(m *keystrand.Message, native []byte) (alone, bound int) {
	v := valueOf(m, native)
	n := 1 + 1 + 1 + // attributes, time and offset deltas of the first record
		varLen(len(m.Key)) + len(m.Key) + varLen(len(v)) + len(v) + varLen(len(m.Headers))
	for _, h := range m.Headers {
		n += varLen(len(h.Key)) + len(h.Key) + varLen(len(h.Value)) + len(h.Value)
	}
	alone = varLen(n) + n
	return alone, alone + 9 + 4 + 1 // longer time delta, offset delta and record length
}

// varLen returns the size of n, which is not negative, as a zigzag varint.
func varLen(n int) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 }
