package kafkatest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Attributes of a batch.
const (
	AttrLogAppendTime = 1 << 3
	AttrTransactional = 1 << 4
	AttrControl       = 1 << 5
)

// Offsets of some fields within a batch.
const (
	AtLength     = 8
	AtMagic      = 16
	atCRC        = 17
	atAttributes = 21
)

// Batch describes a record batch.
type Batch struct {
	Base     int64
	Last     int32 // last offset delta
	Records  []int // offset deltas
	Attrs    int16
	Producer int64
	Epoch    int32
	Value    string
	Body     []byte // instead of records, as it is
	Count    int32  // of records, where body is given
	Times    [2]int64
}

// Record returns the bytes of a record.
func Record(delta int, key, value []byte, headers ...kgo.RecordHeader) []byte {
	r := []byte{0}
	r = binary.AppendVarint(r, int64(delta)) // time
	r = binary.AppendVarint(r, int64(delta))
	for _, b := range [][]byte{key, value} {
		if b == nil {
			r = binary.AppendVarint(r, -1)
			continue
		}
		r = append(binary.AppendVarint(r, int64(len(b))), b...)
	}
	r = binary.AppendVarint(r, int64(len(headers)))
	for _, h := range headers {
		r = append(binary.AppendVarint(r, int64(len(h.Key))), h.Key...)
		if h.Value == nil {
			r = binary.AppendVarint(r, -1)
			continue
		}
		r = append(binary.AppendVarint(r, int64(len(h.Value))), h.Value...)
	}
	return append(binary.AppendVarint(nil, int64(len(r))), r...)
}

// Bytes returns the batch as a broker sends it.
func (b Batch) Bytes() []byte {
	body, n := b.Body, b.Count
	if body == nil {
		for _, d := range b.Records {
			v := b.Value
			if v == "" {
				v = fmt.Sprintf("v%d", b.Base+int64(d))
			}
			body = append(body, Record(d, []byte("k"), []byte(v))...)
		}
		n = int32(len(b.Records))
	}
	be := binary.BigEndian
	var tail []byte
	tail = be.AppendUint16(tail, uint16(b.Attrs))
	tail = be.AppendUint32(tail, uint32(b.Last))
	tail = be.AppendUint64(tail, uint64(b.Times[0]))
	tail = be.AppendUint64(tail, uint64(b.Times[1]))
	tail = be.AppendUint64(tail, uint64(b.Producer))
	tail = be.AppendUint16(tail, 0)
	tail = be.AppendUint32(tail, 0)
	tail = be.AppendUint32(tail, uint32(n))
	tail = append(tail, body...)
	var out []byte
	out = be.AppendUint64(out, uint64(b.Base))
	out = be.AppendUint32(out, uint32(9+len(tail)))
	out = be.AppendUint32(out, uint32(b.Epoch))
	out = append(out, 2)
	out = be.AppendUint32(out, crc32.Checksum(tail, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, tail...)
}

// Marker is the control batch that ends a transaction.
func Marker(offset, producer int64, commit bool) Batch {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return Batch{
		Base: offset, Producer: producer, Attrs: AttrControl | AttrTransactional,
		Body: Record(0, key, []byte{0, 0, 0, 0, 0, 0}), Count: 1,
	}
}

// Resum sets the checksum of a batch after its bytes were changed.
func Resum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
