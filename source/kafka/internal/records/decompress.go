package records

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// maxBatch bounds the decompressed form of a batch, in bytes: more is an attack or damage.
const maxBatch = 1 << 30

var errTooLarge = fmt.Errorf("batch exceeds %d bytes when decompressed", maxBatch)

// borrow returns a decompressor that holds the decompressed body. Its memory is counted in p until giveBack. A body that is
// much smaller than an earlier one is copied, so that a reader does not keep a large buffer for it.
func borrow(p *buffer.Pool, codec int16, body []byte) (*decompressor, error) {
	z, _ := p.Scratch.Get().(*decompressor)
	if z == nil {
		z = &decompressor{}
	}
	err := z.decompress(codec, body)
	if n := len(z.out); err == nil && cap(z.out) > max(4*n, chunkSize) {
		small := &decompressor{out: p.Lend(n), lent: true}
		copy(small.out, z.out)
		p.Scratch.Put(z)
		return small, nil
	}
	p.Count(cap(z.out))
	if err != nil {
		giveBack(p, z)
		return nil, err
	}
	return z, nil
}

func giveBack(p *buffer.Pool, z *decompressor) {
	if z.lent {
		p.Return(z.out)
		return
	}
	p.Count(-cap(z.out))
	p.Scratch.Put(z)
}

// decompressor turns the compressed bodies of batches into records, in a buffer that it uses again.
type decompressor struct {
	in   bytes.Reader
	out  []byte        // the decompressed bytes
	lent bool          // out is lent by the pool and holds a copy; the decompressor itself is not used again
	zstd *zstd.Decoder // made when it is needed
}

// decompress sets out to the bytes behind body. The codecs are those of kafka-go,
// both forms of snappy among them, but for zstd: a decoder of our own knows that it has the whole input, which is
// faster than the library's streams. A panic of a codec on broken bytes is an error.
func (d *decompressor) decompress(codec int16, body []byte) (err error) {
	c := compress.Compression(codec).Codec()
	if c == nil {
		return fmt.Errorf("unknown compression codec %d", codec)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			d.zstd = nil
			err = fmt.Errorf("decompress (%s): %w", c.Name(), err)
		}
	}()
	if codec == int16(compress.Zstd) {
		d.out, err = d.unzstd(body)
	} else {
		d.out, err = d.stream(c, body)
	}
	return err
}

func (d *decompressor) stream(c compress.Codec, body []byte) ([]byte, error) {
	d.in.Reset(body)
	zr := c.NewReader(&d.in)
	defer func() { _ = zr.Close() }() // there is nothing to lose in a reader
	out := bytes.NewBuffer(d.out[:0])
	defer d.in.Reset(nil)
	n, err := io.Copy(out, io.LimitReader(zr, maxBatch+1))
	if err == nil && n > maxBatch {
		err = errTooLarge
	}
	return out.Bytes(), err
}

func (d *decompressor) unzstd(body []byte) ([]byte, error) {
	if d.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBatch))
		if err != nil {
			return nil, err
		}
		d.zstd = z
	}
	out, err := d.zstd.DecodeAll(body, d.out[:0])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = errTooLarge
	}
	return out, err
}
