package records

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	lz4Window = 64 << 10
)

var errLZ4Short = errors.New("lz4: frame ends early")

// unlz4 appends the contents of the frames in body to out. It ignores other bytes behind the first frame, and if counted
// also a damaged frame: Kafka's Java client reads only the first frame, and the count of records shows whether one is missing.
// first is the length of out after the first frame.
func unlz4(body, out []byte, counted bool) (all []byte, first int, err error) {
	out, body, err = lz4Frame(body, out)
	if err != nil {
		return out, 0, err
	}
	first = len(out)
	for len(body) >= 4 && (binary.LittleEndian.Uint32(body) == lz4Magic || isLZ4Skip(body)) {
		more, rest, err := lz4Frame(body, out)
		switch {
		case err == nil:
			out, body = more, rest
		case counted && !errors.Is(err, errTooLarge):
			return out, first, nil
		default:
			return out, first, err
		}
	}
	return out, first, nil
}

func isLZ4Skip(b []byte) bool { return binary.LittleEndian.Uint32(b)&^0xf == lz4Skip }

// lz4Frame appends the content of the first frame to out. It compares no checksum: those of Kafka before 0.10 are wrong, the
// Java client ignores most, and the checksum of the batch covers the frame.
func lz4Frame(b, out []byte) (content, rest []byte, err error) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return out, b, errLZ4Short
	}
	magic := le.Uint32(b)
	if isLZ4Skip(b) {
		size := int64(le.Uint32(b[4:]))
		if size > int64(len(b)-8) {
			return out, b, errLZ4Short
		}
		return out, b[8+size:], nil
	}
	flags, limit := b[4], b[5]>>4&7
	switch {
	case magic != lz4Magic:
		return out, b, fmt.Errorf("lz4: bad magic number %08x", magic)
	case flags>>6 != 1 || flags&lz4Unknown != 0:
		return out, b, fmt.Errorf("lz4: unknown version or flags %02x", flags)
	case limit < 4:
		return out, b, fmt.Errorf("lz4: unknown block size %d", limit)
	}
	b = b[6:]
	if flags&lz4ContentSize != 0 {
		b = b[min(8, len(b)):]
	}
	b = b[min(1, len(b)):] // the header's checksum
	most := 1 << (8 + 2*limit)
	start := len(out)
	for {
		if len(b) < 4 {
			return out, b, errLZ4Short
		}
		length := le.Uint32(b)
		b = b[4:]
		size := int(length &^ lz4Stored)
		if size == 0 { // the Java client ends a frame at an empty stored block too
			if flags&lz4ContentChecksum != 0 {
				b = b[min(4, len(b)):]
			}
			return out, b, nil
		}
		if size > most || size > len(b) {
			return out, b, fmt.Errorf("lz4: block of %d bytes is too long", size)
		}
		if len(out) > maxBatch {
			return out, b, errTooLarge
		}
		block := b[:size]
		if length&lz4Stored != 0 {
			out = append(out, block...)
		} else {
			var dict []byte
			if flags&lz4Linked == 0 {
				dict = out[max(start, len(out)-lz4Window):]
			}
			room := min(most, 255*size+16) // a byte stands for at most 255
			out = slices.Grow(out, room)
			n, err := lz4.UncompressBlockWithDict(block, out[len(out):len(out)+room], dict)
			if err != nil {
				return out, b, err
			}
			out = out[:len(out)+n]
		}
		b = b[size:]
		if flags&lz4BlockChecksum != 0 {
			b = b[min(4, len(b)):]
		}
	}
}
