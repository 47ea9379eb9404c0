package pulsarwire

import "encoding/binary"

// Wire types of the fields of an encoded message of protocol buffers.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// next returns the field of b that begins at i: its tag, which is its number and its wire type; the value of a varint, or the
// size of bytes, which stand at the end; and where it ends. The end is 0 if b is malformed.
func next(b []byte, i int) (tag, value uint64, end int) {
	tag, i = varint(b, i)
	if i == 0 {
		return 0, 0, 0
	}
	switch tag & 7 {
	case wireVarint:
		value, i = varint(b, i)
		return tag, value, i
	case wireBytes:
		value, i = varint(b, i)
		if i == 0 || value > uint64(len(b)-i) { //nolint:gosec // not negative
			return 0, 0, 0
		}
		return tag, value, i + int(value) //nolint:gosec // at most len(b)
	case wireFixed64:
		i += 8
	case wireFixed32:
		i += 4
	default:
		return 0, 0, 0
	}
	if i > len(b) {
		return 0, 0, 0
	}
	return tag, 0, i
}

// varint returns the number that begins at i, and its end, which is 0 if b is malformed.
func varint(b []byte, i int) (v uint64, end int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return longVarint(b, i)
}

func longVarint(b []byte, i int) (v uint64, end int) {
	v, n := binary.Uvarint(b[i:])
	if n <= 0 {
		return 0, 0
	}
	return v, i + n
}

func appendVarint(b []byte, number, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, number<<3|wireVarint), value)
}

func appendBytes[B ~string | ~[]byte](b []byte, number uint64, value B) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, number<<3|wireBytes), uint64(len(value)))
	return append(b, value...)
}
