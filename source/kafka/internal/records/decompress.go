package records

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

const (
	// maxBatch bounds the decompressed form of a batch, in bytes: more is an attack or damage.
	maxBatch = 1 << 30
	// large is the size above which a batch is decompressed in pieces of that size, as its records are needed.
	large = 1 << 20
	// history is how many bytes before the unread ones a stream may look at: the window of LZ4.
	history = 64 << 10
)

var errTooLarge = fmt.Errorf("batch exceeds %d bytes when decompressed", maxBatch)

// unpacker decompresses a body in pieces.
type unpacker interface {
	// more appends decompressed bytes to out until it has at least enough bytes. It returns io.EOF at the end of the body.
	more(out []byte, enough int) ([]byte, error)
}

// decompressor turns the compressed bodies of batches into records, in a buffer that it uses again.
type decompressor struct {
	out   []byte // decompressed bytes: history, and those that are not read yet
	past  int    // how many were before out
	first int    // the end of the bytes that the Java client reads, -1 for all
	most  int    // no body of this size and codec has more bytes
	lent  bool   // out is lent by the pool and holds a copy; the decompressor itself is not used again
	taken int    // bytes that are counted in the pool

	rest unpacker // nil: everything is in out
	codec
}

// codec has the decoders, which are used again.
type codec struct {
	name   string
	gzip   gzipStream
	snappy snappyStream
	lz4    lz4Stream
	zstd   zstdStream
}

// borrow returns a decompressor that has decompressed a body up to a size of piece at least, or whole if piece is 0. Its
// memory is counted in p until giveBack. A body that is much smaller than an earlier one is copied, so that a reader does not
// keep a large buffer for it. counted says that the number of records is known, so that damage behind them does no harm.
func borrow(p *buffer.Pool, codec int16, body []byte, counted bool, piece int) (*decompressor, error) {
	z, _ := p.Scratch.Get().(*decompressor)
	if z == nil {
		z = &decompressor{}
	}
	if piece == 0 {
		piece = maxBatch
	}
	err := z.open(codec, body, counted, piece)
	if err == nil {
		err = z.decompress(piece + 1)
	}
	if n := len(z.out); err == nil && z.rest == nil && cap(z.out) > max(4*n, chunkSize) {
		small := &decompressor{out: p.Lend(n), first: z.first, lent: true}
		copy(small.out, z.out)
		p.Scratch.Put(z)
		return small, nil
	}
	z.count(p)
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
	p.Count(-z.taken)
	z.taken = 0
	z.close()
	p.Scratch.Put(z)
}

// count counts the memory of z in p.
func (d *decompressor) count(p *buffer.Pool) {
	n := cap(d.out)
	if d.rest != nil {
		n += d.zstd.window
	}
	p.Count(n - d.taken)
	d.taken = n
}

// open begins a body.
func (d *decompressor) open(codec int16, body []byte, counted bool, piece int) error {
	c := compress.Compression(codec).Codec()
	if c == nil {
		return fmt.Errorf("unknown compression codec %d", codec)
	}
	d.name, d.out, d.past, d.first = c.Name(), d.out[:0], 0, -1
	switch compress.Compression(codec) {
	case compress.None:
	case compress.Gzip:
		d.gzip.open(body)
		d.rest, d.most = &d.gzip, 1032*len(body)
	case compress.Snappy:
		d.snappy = snappyStream{body: body, framed: isXerial(body)}
		d.rest, d.most = &d.snappy, 64*len(body)
	case compress.Lz4:
		d.lz4 = lz4Stream{body: body, counted: counted, first: &d.first}
		d.rest, d.most = &d.lz4, 255*len(body)
	case compress.Zstd:
		d.most = d.zstd.open(body, piece)
		d.rest = &d.zstd
	}
	return nil
}

// close forgets the body.
func (d *decompressor) close() {
	d.rest = nil
	d.gzip.close()
	d.zstd.close()
	d.snappy, d.lz4 = snappyStream{}, lz4Stream{}
}

// decompress appends to out until it has at least enough bytes, or all. A panic of a codec on broken bytes is an error.
func (d *decompressor) decompress(enough int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err == nil {
			return
		}
		d.rest, d.gzip, d.zstd = nil, gzipStream{}, zstdStream{}
		err = fmt.Errorf("decompress (%s): %w", d.name, err)
	}()
	if d.rest == nil {
		return nil
	}
	d.out, err = d.rest.more(d.out, enough)
	switch {
	case d.past+len(d.out) > maxBatch:
		return errTooLarge
	case err == io.EOF: //nolint:errorlint // another one is damage
		d.close()
		return nil
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill returns the last unread bytes of out with the next piece behind them. It uses the memory of those before.
func (d *decompressor) fill(p *buffer.Pool, unread, piece int) ([]byte, error) {
	if d.rest == nil {
		return d.out[len(d.out)-unread:], nil
	}
	kept := min(len(d.out), unread+history)
	passed := len(d.out) - kept
	d.out = d.out[:copy(d.out, d.out[passed:])]
	d.past += passed
	err := d.decompress(kept + piece)
	d.count(p)
	return d.out[kept-unread:], err
}

// ends reports whether the Java client reads nothing of the last unread bytes of out.
func (d *decompressor) ends(unread int) bool { return d.past+len(d.out)-unread == d.first }

// read appends what r returns to out until that has at least enough bytes.
func read(r io.Reader, out []byte, enough int) ([]byte, error) {
	for len(out) < enough {
		out = slices.Grow(out, 512)
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if err != nil {
			return out, err
		}
	}
	return out, nil
}
