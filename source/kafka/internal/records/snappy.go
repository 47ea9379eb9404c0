package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
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

// snappyStream returns the content of a body. Streams with a header may follow each other: a header stands where a block may
// begin. Fewer than four bytes at the end are ignored, as by Kafka's Java client. A block is decompressed whole.
type snappyStream struct {
	body   []byte
	framed bool
}

// more implements [unpacker].
func (s *snappyStream) more(out []byte, enough int) ([]byte, error) {
	if !s.framed {
		out, err := unsnappy(s.body, out)
		if err == nil {
			err = io.EOF
		}
		return out, err
	}
	for len(out) < enough {
		if len(s.body) < 4 {
			return out, io.EOF
		}
		if bytes.HasPrefix(s.body, xerialMagic[:4]) { // the Java client does not compare the rest of a later header
			if len(s.body) < xerialHeader {
				return out, errSnappyShort
			}
			s.body = s.body[xerialHeader:]
			continue
		}
		size := int64(binary.BigEndian.Uint32(s.body))
		block := s.body[4:]
		if size > int64(len(block)) {
			return out, errSnappyShort
		}
		var err error
		if out, err = unsnappy(block[:size], out); err != nil {
			return out, err
		}
		s.body = block[size:]
	}
	return out, nil
}

func isXerial(b []byte) bool { return len(b) >= xerialHeader && bytes.HasPrefix(b, xerialMagic) }

// unsnappy appends the content of a block to out.
func unsnappy(block, out []byte) ([]byte, error) {
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
