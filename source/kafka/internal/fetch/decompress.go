package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/segmentio/kafka-go/compress"
)

var errTooLarge = errors.New("a batch is larger than 2 GiB when decompressed")

// decompressor turns the compressed bodies of batches into records, in a buffer that it uses again.
type decompressor struct {
	in  bytes.Reader
	out bytes.Buffer
}

// decompress returns the bytes behind body; they are valid until the next call. The codecs are those of kafka-go,
// both forms of snappy among them. A panic of a codec on broken bytes is an error.
func (d *decompressor) decompress(codec int16, body []byte) (_ []byte, err error) {
	c := compress.Compression(codec).Codec()
	if c == nil {
		return nil, fmt.Errorf("the compression codec %d is unknown", codec)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decompressing (%s): %v", c.Name(), p)
		}
	}()
	d.in.Reset(body)
	d.out.Reset()
	if d.out.Cap() > maxKept {
		d.out = bytes.Buffer{}
	}
	zr := c.NewReader(&d.in)
	defer func() { _ = zr.Close() }()
	n, err := io.Copy(&d.out, io.LimitReader(zr, math.MaxInt32))
	if err != nil {
		return nil, fmt.Errorf("decompressing (%s): %w", c.Name(), err)
	}
	if n == math.MaxInt32 {
		return nil, errTooLarge
	}
	return d.out.Bytes(), nil
}

// maxKept bounds the buffer that is kept between batches.
const maxKept = 4 << 20
