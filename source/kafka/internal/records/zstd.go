package records

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdStream returns the contents of all frames of a body.
type zstdStream struct {
	in     bytes.Reader
	body   []byte        // to be decompressed at once; nil: in pieces
	window int           // size of the memory that z holds while it decompresses in pieces
	z      *zstd.Decoder // made when it is needed
}

// open begins a body. It returns a bound of its decompressed size. A body that may be larger than piece is decompressed in
// pieces, which is slower for small ones.
func (s *zstdStream) open(body []byte, piece int) (most int) {
	most, window := zstdBounds(body)
	s.body, s.window = body, 0
	if most > piece {
		s.body, s.window = nil, window
		s.in.Reset(body)
	}
	return most
}

func (s *zstdStream) close() {
	if s.window > 0 && s.z != nil {
		_ = s.z.Reset(nil) // it returns no error
	}
	s.in.Reset(nil)
	s.body, s.window = nil, 0
}

// more implements [unpacker].
func (s *zstdStream) more(out []byte, enough int) (_ []byte, err error) {
	if s.z == nil {
		s.z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBatch))
		if err != nil {
			return out, err
		}
	}
	if s.body != nil {
		out, err = s.z.DecodeAll(s.body, out)
		if err == nil {
			err = io.EOF
		}
	} else {
		if s.in.Len() == int(s.in.Size()) {
			if err := s.z.Reset(&s.in); err != nil {
				return out, unexpected(err)
			}
		}
		out, err = read(s.z, out, enough)
	}
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = errTooLarge
	}
	return out, err
}

// zstdBlock is the largest decompressed size of a block.
const zstdBlock = 128 << 10

// zstdBounds returns bounds of the decompressed size of the frames in body, and of the window they need. It ends at damage, as
// the decoder does.
func zstdBounds(body []byte) (most, window int) {
	for len(body) > 0 {
		var h zstd.Header
		if h.Decode(body) != nil {
			return most, window
		}
		if h.Skippable {
			body = body[min(len(body), h.HeaderSize+int(h.SkippableSize)):]
			continue
		}
		window = max(window, int(min(h.WindowSize, maxBatch)))
		body = body[h.HeaderSize:]
		for last := false; !last; {
			if len(body) < 3 {
				return most, window
			}
			head := int(body[0]) | int(body[1])<<8 | int(body[2])<<16 // last 1 bit, type 2 bits, size 21 bits
			last = head&1 != 0
			size := head >> 3
			switch head >> 1 & 3 {
			case 0: // stored
				most += size
			case 1: // one byte, repeated
				most += size
				size = 1
			default:
				most += zstdBlock
			}
			body = body[min(len(body), 3+size):]
		}
		if h.HasCheckSum {
			body = body[min(len(body), 4):]
		}
	}
	return most, window
}
