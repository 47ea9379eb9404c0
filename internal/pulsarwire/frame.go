package pulsarwire

import (
	"encoding/binary"
	"hash/crc32"
)

// Parts of a frame behind its command: optionally the magic number and size of what the broker adds, that, and the magic
// number, checksum and size of the metadata, the metadata, the payload. The checksum covers all behind itself.
const (
	magicBroker = 0x0e02
	magicFrame  = 0x0e01
	magicSize   = 2
	sizeSize    = 4
	sumSize     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // immutable table

// parts are those of a frame.
type parts struct {
	broker  []byte
	sum     uint32
	summed  []byte // size, meta and payload
	meta    []byte
	payload []byte
}

// split returns the parts of a frame. It reports false if a size in the frame is wrong. It does not compare the checksum.
func split(frame []byte) (e parts, ok bool) {
	b := frame
	if len(b) < magicSize {
		return e, false
	}
	if binary.BigEndian.Uint16(b) == magicBroker {
		if len(b) < magicSize+sizeSize {
			return e, false
		}
		end := magicSize + sizeSize + int64(binary.BigEndian.Uint32(b[magicSize:]))
		if end > int64(len(b)) {
			return e, false
		}
		e.broker, b = b[:end], b[end:]
	}
	if len(b) < magicSize+sumSize+sizeSize || binary.BigEndian.Uint16(b) != magicFrame {
		return e, false
	}
	e.sum, e.summed = binary.BigEndian.Uint32(b[magicSize:]), b[magicSize+sumSize:]
	size := int64(binary.BigEndian.Uint32(e.summed))
	b = e.summed[sizeSize:]
	if size > int64(len(b)) {
		return e, false
	}
	e.meta, e.payload = b[:size], b[size:]
	return e, true
}

// sound reports whether the checksum is right.
func (e *parts) sound() bool { return crc32.Checksum(e.summed, castagnoli) == e.sum }

// beginFrame appends the beginning of the frame, up to the metadata.
func (e *parts) beginFrame(b []byte) []byte {
	b = append(b, e.broker...)
	b = binary.BigEndian.AppendUint16(b, magicFrame)
	b = append(b, make([]byte, sumSize+sizeSize)...) // set by endFrame
	return append(b, e.meta...)
}

// endFrame sets the size of the metadata, which end with head, and the checksum of the frame.
func (e *parts) endFrame(head, payload []byte) {
	summed := head[len(e.broker)+magicSize+sumSize:]
	binary.BigEndian.PutUint32(summed, uint32(len(summed)-sizeSize)) //nolint:gosec // a frame is smaller
	sum := crc32.Update(crc32.Checksum(summed, castagnoli), castagnoli, payload)
	binary.BigEndian.PutUint32(head[len(e.broker)+magicSize:], sum)
}
