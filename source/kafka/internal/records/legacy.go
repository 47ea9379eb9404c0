package records

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Message sets of magic 0 and 1, as topics hold them that were written before Kafka 0.11: offset int64, length int32,
// crc uint32, magic int8, attributes int8, timestamp int64 (magic 1), key and value with int32 lengths. A compressed
// message holds a set of its own as its value.

// legacy takes one message as a batch of one record, or of the set in its value.
func (h *head) legacy(message []byte) {
	h.epoch, h.producer, h.records = -1, -1, 1
	h.last = h.base // of a compressed set this is its last offset too
	h.attributes = int16(message[atMagic+1]) & (attrCodec | attrLogAppendTime)
	if h.magic == 1 {
		h.maxTime = int64(binary.BigEndian.Uint64(message[atMagic+2:]))
	}
	h.body = message
}

// legacyMessage is one message of magic 0 or 1.
type legacyMessage struct {
	offset, time int64
	magic        int8
	attributes   int8
	key, value   []byte
}

func readLegacy(r *wire.Reader) legacyMessage {
	m := legacyMessage{offset: r.I64(), time: -1}
	inner := wire.Reader{B: r.Take(int(r.I32()))}
	inner.I32() // checksum, covered by that of the outer message
	m.magic, m.attributes = inner.I8(), inner.I8()
	if m.magic == 1 {
		m.time = inner.I64()
	}
	m.key, m.value = inner.Bytes(), inner.Bytes()
	if inner.Err != nil {
		r.Fail()
	}
	return m
}

// unpackLegacy returns the messages of a compressed one, given its decompressed value. Magic 1 numbers them from 0 and
// the wrapper has the offset of the last; magic 0 numbers them as the log does.
func unpackLegacy(h *head, set []byte) ([]legacyMessage, error) {
	var ms []legacyMessage
	r := wire.Reader{B: set}
	for len(r.B) > 0 && r.Err == nil {
		m := readLegacy(&r)
		if r.Err == nil && h.compressed() && (m.magic != h.magic || m.attributes&attrCodec != 0) {
			return nil, fmt.Errorf("compressed set holds a message of format %d with attributes %02x", m.magic, m.attributes)
		}
		ms = append(ms, m)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	if len(ms) == 0 {
		return nil, errors.New("compressed set is empty")
	}
	last := ms[len(ms)-1].offset
	if h.magic == 0 {
		if last != h.base {
			return nil, fmt.Errorf("compressed set ends at offset %d, not at %d", last, h.base)
		}
		return ms, nil
	}
	shift := h.base - last
	for i := range ms {
		ms[i].offset += shift
	}
	return ms, nil
}
