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
	bad    bool          // a frame is too short for the size that it names
	z      *zstd.Decoder // made when it is needed
}

// keptWindow is the largest window of a decoder that is used again.
const keptWindow = 8 << 20

// open begins a body. It returns a bound of its decompressed size. A body is decompressed in pieces if one piece and the window
// are smaller than the whole.
func (s *zstdStream) open(body []byte, piece int) (most int) {
	most, window, bad := zstdBounds(body)
	s.body, s.window, s.bad = body, 0, bad
	if most-window > piece {
		s.body, s.window = nil, window
		s.in.Reset(body)
	}
	return most
}

func (s *zstdStream) close() {
	if s.z != nil {
		_ = s.z.Reset(nil) // it returns no error. A stream that has not ended blocks the next body
	}
	if s.window > keptWindow {
		s.z = nil
	}
	s.in.Reset(nil)
	s.body, s.window = nil, 0
}

// more implements [unpacker].
func (s *zstdStream) more(out []byte, enough int) (_ []byte, err error) {
	if s.bad { // z would allocate that size
		return out, zstd.ErrFrameSizeMismatch
	}
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
// the decoder does. bad reports whether a frame names a size that its blocks cannot have.
func zstdBounds(body []byte) (most, window int, bad bool) {
	for len(body) > 0 {
		var h zstd.Header
		if h.Decode(body) != nil {
			break
		}
		if h.Skippable {
			body = body[min(len(body), h.HeaderSize+int(h.SkippableSize)):]
			continue
		}
		var size int
		size, body = zstdBlocks(body[h.HeaderSize:])
		if h.HasFCS {
			bad = bad || h.FrameContentSize > uint64(size) && h.FrameContentSize <= maxBatch
			size = int(min(uint64(size), h.FrameContentSize))
		}
		most += size
		if h.SingleSegment {
			window = max(window, size)
		}
		window = max(window, int(min(h.WindowSize, maxBatch)))
		if h.HasCheckSum {
			body = body[min(len(body), 4):]
		}
	}
	return most, window, bad
}

// zstdBlocks returns a bound of the decompressed size of the blocks of a frame, and the bytes behind them.
func zstdBlocks(body []byte) (most int, rest []byte) {
	for last := false; !last; {
		if len(body) < 3 {
			return most, nil
		}
		head := int(body[0]) | int(body[1])<<8 | int(body[2])<<16 // last 1 bit, type 2 bits, size 21 bits
		last = head&1 != 0
		size := head >> 3
		switch head >> 1 & 3 {
		case 0: // stored
			most += min(size, zstdBlock)
		case 1: // one byte, repeated
			most += min(size, zstdBlock)
			size = 1
		default:
			most += zstdBlock
		}
		body = body[min(len(body), 3+size):]
	}
	return most, body
}
