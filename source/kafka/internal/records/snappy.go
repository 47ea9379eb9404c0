package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/klauspost/compress/snappy"
)

// The Java client frames snappy as the library snappy-java does: a header of 16 bytes, the magic and two versions, then
// blocks behind their lengths of four bytes. Other clients write one block without a frame.
const xerialHeader = 16

var (
	xerialMagic = []byte("\x82SNAPPY\x00") //nolint:gochecknoglobals // immutable

	errSnappyShort = errors.New("snappy: block is longer than the rest")
)

// unsnappy appends the content of body to out. Streams may follow each other: a header stands where a block may begin.
// Fewer than four bytes at the end are ignored, as by Kafka's Java client.
func unsnappy(body, out []byte) ([]byte, error) {
	if !isXerial(body) {
		return unsnappyBlock(body, out)
	}
	for len(body) >= 4 {
		if bytes.HasPrefix(body, xerialMagic[:4]) { // the Java client does not compare the rest of a later header
			if len(body) < xerialHeader {
				return out, errSnappyShort
			}
			body = body[xerialHeader:]
			continue
		}
		size := int64(binary.BigEndian.Uint32(body))
		body = body[4:]
		if size > int64(len(body)) {
			return out, errSnappyShort
		}
		var err error
		if out, err = unsnappyBlock(body[:size], out); err != nil {
			return out, err
		}
		body = body[size:]
	}
	return out, nil
}

func isXerial(b []byte) bool { return len(b) >= xerialHeader && bytes.HasPrefix(b, xerialMagic) }

func unsnappyBlock(block, out []byte) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return out, err
	}
	if len(out)+n > maxBatch {
		return out, errTooLarge
	}
	if n > 64*len(block) { // a copy of 3 bytes stands for at most 64
		return out, snappy.ErrCorrupt
	}
	out = slices.Grow(out, n)
	if _, err := snappy.Decode(out[len(out):len(out)+n], block); err != nil {
		return out, err
	}
	return out[:len(out)+n], nil
}
