package pulsarwire

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is the compression of a batch, as numbered in PulsarApi.proto and by the client library.
type Codec uint64

// Codecs.
const (
	None Codec = iota
	LZ4
	ZLib
	ZSTD
	Snappy
)

// maxBatch bounds the size of a batch. Brokers allow 5 MiB by default.
const maxBatch = 1 << 28

var errSize = errors.New("wrong size")

//nolint:gochecknoglobals // stateless, and expensive to make
var (
	zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBatch)) })
	zstdWriter = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil) })
)

// unknown is the size of a batch that is not known.
const unknown = -1

// unpack decompresses a batch of this size, into dst if there is room.
func (c Codec) unpack(dst, b []byte, size int) ([]byte, error) {
	if size < unknown || size > maxBatch {
		return nil, errSize
	}
	out, err := b, error(nil)
	switch c {
	case None:
	case LZ4:
		out, err = unpackLZ4(dst, b, size)
	case ZLib:
		out, err = unpackZLib(dst, b, size)
	case ZSTD:
		var r *zstd.Decoder
		if r, err = zstdReader(); err == nil {
			out, err = r.DecodeAll(b, dst[:0])
		}
	case Snappy:
		out, err = snappy.Decode(dst[:cap(dst)], b)
	default:
		err = fmt.Errorf("unknown compression: %d", c)
	}
	if err == nil && size != unknown && len(out) != size {
		err = errSize
	}
	return out, err
}

// unpackZLib reads no further than the size: the Java client does not end the stream.
func unpackZLib(dst, b []byte, size int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if size == unknown {
		return io.ReadAll(io.LimitReader(r, maxBatch))
	}
	out := slices.Grow(dst[:0], size)[:size]
	_, err = io.ReadFull(r, out)
	return out, err
}

// unpackLZ4 decompresses a block, which does not have its size.
func unpackLZ4(dst, b []byte, size int) ([]byte, error) {
	if size > 256*len(b) {
		return nil, errSize // a block cannot say more
	}
	if size != unknown {
		out := slices.Grow(dst[:0], size)[:size]
		n, err := lz4.UncompressBlock(b, out)
		return out[:max(n, 0)], err
	}
	for size = 4 * len(b); ; size *= 4 {
		out := make([]byte, size)
		n, err := lz4.UncompressBlock(b, out)
		if err == nil || size >= 256*len(b) {
			return out[:max(n, 0)], err
		}
	}
}

// pack compresses a batch.
func (c Codec) pack(b []byte) ([]byte, error) {
	switch c {
	case None:
		return b, nil
	case LZ4:
		out := make([]byte, lz4.CompressBlockBound(len(b)))
		n, err := lz4.CompressBlock(b, out, nil)
		return out[:n], err
	case ZLib:
		var out bytes.Buffer
		w := zlib.NewWriter(&out)
		_, err := w.Write(b)
		err = errors.Join(err, w.Close())
		return out.Bytes(), err
	case ZSTD:
		w, err := zstdWriter()
		if err != nil {
			return nil, err
		}
		return w.EncodeAll(b, nil), nil
	case Snappy:
		return snappy.Encode(nil, b), nil
	}
	return nil, fmt.Errorf("unknown compression: %d", c)
}
