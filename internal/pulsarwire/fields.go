package pulsarwire

import "encoding/binary"

// field is a field of an encoded message of protocol buffers.
type field struct {
	number uint64
	varint uint64 // value of a numeric field
	bytes  []byte // value of a string or message
}

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// cut returns the first field of b and the bytes behind it. It reports false if b is malformed.
func cut(b []byte) (f field, rest []byte, ok bool) {
	tag, n := uvarint(b)
	if n <= 0 {
		return f, nil, false
	}
	b = b[n:]
	f.number = tag >> 3
	switch tag & 7 {
	case wireVarint:
		f.varint, n = uvarint(b)
		if n <= 0 {
			return f, nil, false
		}
		return f, b[n:], true
	case wireBytes:
		size, n := uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return f, nil, false
		}
		end := n + int(size) //nolint:gosec // at most len(b)
		f.bytes = b[n:end]
		return f, b[end:], true
	case wireFixed64:
		n = 8
	case wireFixed32:
		n = 4
	default:
		return f, nil, false
	}
	if len(b) < n {
		return f, nil, false
	}
	return f, b[n:], true
}

// uvarint is [binary.Uvarint], faster for the many numbers of one byte.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

func appendVarint(b []byte, number, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, number<<3|wireVarint), value)
}

func appendBytes[B ~string | ~[]byte](b []byte, number uint64, value B) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, number<<3|wireBytes), uint64(len(value)))
	return append(b, value...)
}
