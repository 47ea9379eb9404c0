package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
)

// batchBuffer holds an encoded record batch, magic 2: https://kafka.apache.org/documentation/#recordbatch. It is reused.
//
// The encoder of the client library loses times: it writes now for 1970, and wraps around outside 1678 to 2262.
type batchBuffer struct {
	batch  []byte
	packed bytes.Buffer // the records, compressed
	reader bytes.Reader
}

// prefix is the number of bytes of the length before a batch in a request.
const prefix = 4

// maxSpare is the size above which a buffer is not kept for reuse.
const maxSpare = 2 << 20

// encode sets the buffer to a batch of some messages. now is the time of messages without one.
func (b *batchBuffer) encode(ms []keystrand.Message, values map[int][]byte, batch []int, c kafka.Compression, now time.Time) error {
	first, last := int64(0), int64(math.MinInt64)
	all := append(b.batch[:0], make([]byte, prefix+batchOverhead)...)
	for n, i := range batch {
		ms := millis(&ms[i], now)
		if n == 0 {
			first = ms
		}
		last = max(last, ms)
	}
	for n, i := range batch {
		all = appendRecord(all, &ms[i], values[i], millis(&ms[i], now)-first, n)
	}
	if c != 0 {
		b.packed.Reset()
		w := c.Codec().NewWriter(&b.packed)
		_, err := w.Write(all[prefix+batchOverhead:])
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("compress a batch: %w", err)
		}
		all = append(all[:prefix+batchOverhead], b.packed.Bytes()...)
	}
	buf := all[prefix:]
	be := binary.BigEndian
	be.PutUint64(buf[0:], 0)                                     //nolint:gosec // base offset; the broker sets it
	be.PutUint32(buf[8:], uint32(len(buf)-12))                   //nolint:gosec // bytes behind this field; a request has less than 2 GiB
	be.PutUint32(buf[12:], math.MaxUint32)                       // leader epoch: none
	buf[16] = 2                                                  // magic
	be.PutUint16(buf[21:], uint16(c)&7)                          //nolint:gosec // attributes
	be.PutUint32(buf[23:], uint32(len(batch)-1))                 //nolint:gosec // last offset delta
	be.PutUint64(buf[27:], uint64(first))                        //nolint:gosec // base timestamp
	be.PutUint64(buf[35:], uint64(last))                         //nolint:gosec // maximum timestamp
	be.PutUint64(buf[43:], math.MaxUint64)                       // producer id: none
	be.PutUint16(buf[51:], math.MaxUint16)                       // producer epoch
	be.PutUint32(buf[53:], math.MaxUint32)                       // base sequence
	be.PutUint32(buf[57:], uint32(len(batch)))                   //nolint:gosec // number of records
	be.PutUint32(buf[17:], crc32.Checksum(buf[21:], castagnoli)) // of all behind it
	be.PutUint32(all, uint32(len(buf)))                          //nolint:gosec // as above
	b.batch = all
	b.reader.Reset(all)
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // immutable table

func appendRecord(b []byte, m *keystrand.Message, native []byte, delta int64, n int) []byte {
	b = binary.AppendVarint(b, int64(bodySize(m, native, delta, n)))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, int64(n))
	b = appendBytes(b, m.Key)
	b = appendBytes(b, valueOf(m, native))
	b = binary.AppendVarint(b, int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendBytes(b, h.Value)
	}
	return b
}

// appendBytes appends p with its length; nil has the length -1.
func appendBytes(b, p []byte) []byte {
	if p == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(p)))
	return append(b, p...)
}

// millis returns the time of a message in milliseconds since 1970.
func millis(m *keystrand.Message, now time.Time) int64 {
	if m.Time.IsZero() {
		return now.UnixMilli()
	}
	return m.Time.UnixMilli()
}

// checkTime returns an error if Kafka cannot store the time: it takes -1 ms for none, and 64 bits of milliseconds have ends.
func checkTime(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	if d := t.Sub(time.UnixMilli(ms)); d < 0 || d >= time.Millisecond { // ms has wrapped around
		return fmt.Errorf("%w: %d s since 1970 do not fit into 64 bits of milliseconds", kafka.InvalidTimestamp, t.Unix())
	}
	if ms == -1 {
		return fmt.Errorf("%w: Kafka takes -1 ms since 1970 for no time", kafka.InvalidTimestamp)
	}
	return nil
}

func valueOf(m *keystrand.Message, native []byte) []byte {
	if m.Value == nil {
		return native
	}
	return m.Value
}

// batchOverhead is the number of bytes in the header of a record batch.
const batchOverhead = 61

// bodySize returns the size of a record without its length.
func bodySize(m *keystrand.Message, native []byte, delta int64, n int) int {
	v := valueOf(m, native)
	size := 1 + // attributes
		zigzagLen(delta) + varLen(n) + varLen(len(m.Key)) + len(m.Key) + varLen(len(v)) + len(v) + varLen(len(m.Headers))
	for i := range m.Headers {
		h := &m.Headers[i]
		size += varLen(len(h.Key)) + len(h.Key) + varLen(len(h.Value)) + len(h.Value)
	}
	return size
}

// recordSize returns the size of m as the only record of a batch, and an upper bound for its size in any batch.
func recordSize(m *keystrand.Message, native []byte) (alone, bound int) {
	n := bodySize(m, native, 0, 0)
	alone = varLen(n) + n
	return alone, alone + 9 + 4 + 1 // longer time delta, offset delta and record length
}

// varLen returns the size of n, which is not negative, as a zigzag varint. nil has the size of an empty value.
func varLen(n int) int { return zigzagLen(int64(n)) }

func zigzagLen(n int64) int { return (bits.Len64(uint64(n)<<1^uint64(n>>63)|1) + 6) / 7 } //nolint:gosec // the encoding

// release gives the memory of a large batch back.
func (b *batchBuffer) release() {
	b.reader.Reset(nil)
	if cap(b.batch) > maxSpare {
		b.batch = nil
	}
	if b.packed.Cap() > maxSpare {
		b.packed = bytes.Buffer{}
	}
}
