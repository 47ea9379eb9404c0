package record

import "bytes"

// WithSum replaces the last four bytes of b by the checksum of the others.
func WithSum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	return appendSum(bytes.Clone(b[:len(b)-4]), 0)
}
