package records

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// The head of a record batch of magic 2 (https://kafka.apache.org/documentation/#recordbatch). Message sets of magic
// 0 and 1 have the same first 17 bytes, with a checksum where the leader epoch is.
const (
	atLength      = 8  // int32, of all behind it
	atLeaderEpoch = 12 // int32
	atMagic       = 16 // int8
	atCRC         = 17 // uint32, CRC-32C of all behind it
	atAttributes  = 21 // int16
	atLastDelta   = 23 // int32
	atFirstTime   = 27 // int64
	atMaxTime     = 35 // int64
	atProducer    = 43 // int64
	atRecords     = 57 // int32
	headSize      = 61

	attrCodec         = 7
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // immutable table

// head has the fields of a batch.
type head struct {
	base, last int64 // last: of the batch as it was written, whatever the cleaner has removed since
	epoch      int32 // leader epoch, -1 if unknown
	magic      int8
	attributes int16
	firstTime  int64
	maxTime    int64
	producer   int64
	records    int32
	body       []byte // behind the head: records, perhaps compressed. Of magic 0 and 1: the whole message
}

// nextBatch splits the first batch off set. An incomplete one at the end is normal, a response is cut at its limit of
// bytes: ok is false and the error nil. An error means a damaged batch; then base is its base offset, as far as that
// can be believed. check compares the checksum.
func nextBatch(set []byte, check bool) (h head, rest []byte, ok bool, err error) {
	if len(set) < atMagic+1 {
		return h, nil, false, nil
	}
	h.base = int64(binary.BigEndian.Uint64(set))
	h.magic = int8(set[atMagic])
	length := int64(int32(binary.BigEndian.Uint32(set[atLength:])))
	least := int64(headSize - atLeaderEpoch)
	switch h.magic {
	case 0:
		least = 14 // checksum, magic, attributes, two lengths
	case 1:
		least = 22 // the same and a time
	}
	if length < least {
		return h, nil, false, fmt.Errorf("batch length of %d bytes is too small", length)
	}
	if h.base < 0 {
		return h, nil, false, fmt.Errorf("batch offset %d is negative", h.base)
	}
	if int64(len(set))-atLeaderEpoch < length {
		return h, nil, false, nil
	}
	end := int(atLeaderEpoch + length)
	batch, rest := set[:end:end], set[end:]
	switch h.magic {
	case 0, 1:
		if check {
			err = checksum(batch[atLeaderEpoch:], crc32.ChecksumIEEE(batch[atMagic:]))
		}
		h.legacy(batch)
	case 2:
		if check {
			err = checksum(batch[atCRC:], crc32.Checksum(batch[atAttributes:], castagnoli))
		}
		err = errors.Join(err, h.parse(batch))
	default:
		err = fmt.Errorf("unknown batch format %d", h.magic)
	}
	if err == nil && h.last == math.MaxInt64 {
		err = errors.New("batch offset is the largest possible")
	}
	return h, rest, err == nil, err
}

func (h *head) parse(batch []byte) error {
	be := binary.BigEndian
	h.epoch = int32(be.Uint32(batch[atLeaderEpoch:]))
	h.attributes = int16(be.Uint16(batch[atAttributes:]))
	h.firstTime = int64(be.Uint64(batch[atFirstTime:]))
	h.maxTime = int64(be.Uint64(batch[atMaxTime:]))
	h.producer = int64(be.Uint64(batch[atProducer:]))
	h.records = int32(be.Uint32(batch[atRecords:]))
	h.body = batch[headSize:]
	delta := int32(be.Uint32(batch[atLastDelta:]))
	h.last = h.base + int64(delta)
	if delta < 0 || h.last < h.base {
		return fmt.Errorf("last offset of the batch is %d above its first", delta)
	}
	if h.records < 0 {
		return fmt.Errorf("batch has %d records", h.records)
	}
	return nil
}

func checksum(field []byte, sum uint32) error {
	if found := binary.BigEndian.Uint32(field); found != sum {
		return fmt.Errorf("batch checksum is %08x, computed %08x", found, sum)
	}
	return nil
}

func (h *head) compressed() bool    { return h.attributes&attrCodec != 0 }
func (h *head) control() bool       { return h.attributes&attrControl != 0 }
func (h *head) transactional() bool { return h.attributes&attrTransactional != 0 }

// Scan walks the batches of a record set, requested at offset from. It returns the set up to the end of the
// last whole batch, the position behind it and the leader epoch of that batch. An error means that the batch at the
// position is damaged.
func Scan(set []byte, from int64) (whole []byte, next int64, epoch int32, err error) {
	next, epoch = from, -1
	rest := set
	for {
		h, after, ok, err := nextBatch(rest, true)
		if !ok {
			return set[:len(set)-len(rest)], next, epoch, err
		}
		next, epoch = max(next, h.last+1), h.epoch
		rest = after
	}
}
