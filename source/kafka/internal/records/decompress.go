package records

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// maxBatch bounds the decompressed form of a batch, in bytes: more is an attack or damage.
const maxBatch = 1 << 30

var errTooLarge = fmt.Errorf("batch exceeds %d bytes when decompressed", maxBatch)

// borrow returns a decompressor that holds the decompressed body. Its memory is counted in p until giveBack. A body that is
// much smaller than an earlier one is copied, so that a reader does not keep a large buffer for it.
func borrow(p *buffer.Pool, codec int16, body []byte, counted bool) (*decompressor, error) {
	z, _ := p.Scratch.Get().(*decompressor)
	if z == nil {
		z = &decompressor{}
	}
	err := z.decompress(codec, body, counted)
	if n := len(z.out); err == nil && cap(z.out) > max(4*n, chunkSize) {
		small := &decompressor{out: p.Lend(n), extra: z.extra, lent: true}
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
	in    bytes.Reader
	out   []byte        // the decompressed bytes
	extra int           // how many of them, at the end, come from frames that the Java client does not read
	lent  bool          // out is lent by the pool and holds a copy; the decompressor itself is not used again
	gzip  *gzip.Reader  // made when it is needed
	zstd  *zstd.Decoder // made when it is needed
}

// decompress sets out to the content of body. counted says that the number of records is known, so that damage behind them
// does no harm. A panic of a codec on broken bytes is an error.
func (d *decompressor) decompress(codec int16, body []byte, counted bool) (err error) {
	c := compress.Compression(codec).Codec()
	if c == nil {
		return fmt.Errorf("unknown compression codec %d", codec)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			d.gzip, d.zstd = nil, nil
			err = fmt.Errorf("decompress (%s): %w", c.Name(), err)
		}
	}()
	d.extra = 0
	switch compress.Compression(codec) {
	case compress.None:
	case compress.Gzip:
		d.out, err = d.ungzip(body)
	case compress.Snappy:
		d.out, err = unsnappy(body, d.out[:0])
	case compress.Lz4:
		var first int
		d.out, first, err = unlz4(body, d.out[:0], counted)
		d.extra = len(d.out) - first
	case compress.Zstd:
		d.out, err = d.unzstd(body)
	}
	return err
}

// leastMember is the size of the smallest member of a gzip stream.
const leastMember = 20

// ungzip returns the contents of all members in body. Bytes behind a member that do not begin another one are ignored, as by
// Java's GZIPInputStream.
func (d *decompressor) ungzip(body []byte) ([]byte, error) {
	d.in.Reset(body)
	defer d.in.Reset(nil)
	if d.gzip == nil {
		d.gzip = new(gzip.Reader)
	}
	out := bytes.NewBuffer(d.out[:0])
	err := d.gzip.Reset(&d.in)
	for err == nil {
		d.gzip.Multistream(false)
		if _, err = io.Copy(out, io.LimitReader(d.gzip, int64(maxBatch+1-out.Len()))); err != nil {
			break
		}
		if out.Len() > maxBatch {
			return out.Bytes(), errTooLarge
		}
		if d.in.Len() < leastMember || d.gzip.Reset(&d.in) != nil {
			break
		}
	}
	return out.Bytes(), err
}

// unzstd returns the contents of all frames in body.
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
