package records

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The frame format of LZ4 (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md).
const (
	lz4Magic = 0x184d2204
	lz4Skip  = 0x184d2a50 // the first of 16 magics of frames to skip

	lz4Linked          = 1 << 5 // of the flags, inverted: blocks refer to the blocks before
	lz4BlockChecksum   = 1 << 4
	lz4ContentSize     = 1 << 3
	lz4ContentChecksum = 1 << 2
	lz4Unknown         = 1<<1 | 1<<0 // reserved, and a dictionary

	lz4Stored = 1 << 31 // of a block's length: it is not compressed
)

var errLZ4Short = errors.New("lz4: frame ends early")

// lz4Stream returns the contents of the frames in a body. It ignores other bytes behind the first frame, and if counted also a
// damaged frame: Kafka's Java client reads only the first frame, and the count of records shows whether one is missing.
//
// It compares no checksum: those of Kafka before 0.10 are wrong, the Java client ignores most, and the checksum of the batch
// covers the frames.
type lz4Stream struct {
	body    []byte
	counted bool
	first   *int // set to total at the end of the first frame; -1 before
	total   int  // bytes that were appended

	inside bool // in a frame, of which flags, most and size are
	flags  byte
	most   int // largest size of a block
	size   int // bytes that were appended
}

// more implements [unpacker]. The last bytes of out are those that it has appended before.
func (s *lz4Stream) more(out []byte, enough int) ([]byte, error) {
	kept := len(out)
	for len(out) < enough {
		if !s.inside && *s.first >= 0 && !s.another() {
			return out, io.EOF
		}
		var err error
		if s.inside {
			before := len(out)
			out, err = s.block(out)
			s.total += len(out) - before
			s.size += len(out) - before
		} else {
			err = s.header()
		}
		if !s.inside && err == nil && *s.first < 0 {
			*s.first = s.total
		}
		if err != nil && *s.first >= 0 && s.counted {
			return out[:max(kept, len(out)-s.size)], io.EOF // without the frame
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// another reports whether a frame is next.
func (s *lz4Stream) another() bool {
	return len(s.body) >= 4 && (binary.LittleEndian.Uint32(s.body) == lz4Magic || isLZ4Skip(s.body))
}

func isLZ4Skip(b []byte) bool { return binary.LittleEndian.Uint32(b)&^0xf == lz4Skip }

// header begins a frame, or skips one.
func (s *lz4Stream) header() error {
	le := binary.LittleEndian
	b := s.body
	s.size = 0
	if len(b) < 8 {
		return errLZ4Short
	}
	magic := le.Uint32(b)
	if isLZ4Skip(b) {
		size := int64(le.Uint32(b[4:]))
		if size > int64(len(b)-8) {
			return errLZ4Short
		}
		s.body = b[8+size:]
		return nil
	}
	flags, limit := b[4], b[5]>>4&7
	switch {
	case magic != lz4Magic:
		return fmt.Errorf("lz4: bad magic number %08x", magic)
	case flags>>6 != 1 || flags&lz4Unknown != 0:
		return fmt.Errorf("lz4: unknown version or flags %02x", flags)
	case limit < 4:
		return fmt.Errorf("lz4: unknown block size %d", limit)
	}
	b = b[6:]
	if flags&lz4ContentSize != 0 {
		b = b[min(8, len(b)):]
	}
	s.body = b[min(1, len(b)):] // the header's checksum
	s.inside, s.flags, s.most = true, flags, 1<<(8+2*limit)
	return nil
}

// block appends the content of the next block to out, or ends the frame.
func (s *lz4Stream) block(out []byte) ([]byte, error) {
	b := s.body
	if len(b) < 4 {
		return out, errLZ4Short
	}
	length := binary.LittleEndian.Uint32(b)
	b = b[4:]
	size := int(length &^ lz4Stored)
	if size == 0 { // the Java client ends a frame at an empty stored block too
		if s.flags&lz4ContentChecksum != 0 {
			b = b[min(4, len(b)):]
		}
		s.body, s.inside = b, false
		return out, nil
	}
	if size > s.most || size > len(b) {
		return out, fmt.Errorf("lz4: block of %d bytes is too long", size)
	}
	block := b[:size]
	if length&lz4Stored != 0 {
		out = append(out, block...)
	} else {
		var dict []byte
		if s.flags&lz4Linked == 0 {
			dict = out[len(out)-min(s.size, history):]
		}
		room := min(s.most, 255*size+16) // a byte stands for at most 255
		out = slices.Grow(out, room)
		n, err := lz4.UncompressBlockWithDict(block, out[len(out):len(out)+room], dict)
		if err != nil {
			return out, err
		}
		out = out[:len(out)+n]
	}
	b = b[size:]
	if s.flags&lz4BlockChecksum != 0 {
		b = b[min(4, len(b)):]
	}
	s.body = b
	return out, nil
}
