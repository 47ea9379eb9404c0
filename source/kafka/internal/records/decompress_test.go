package records

import (
	"bytes"
	"testing"

	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// A reader holds a batch for as long as its messages are handled.
func TestSmallBatchOccupiesNoLargeBuffer(t *testing.T) {
	for _, codec := range []compress.Compression{compress.Zstd, compress.Lz4, compress.Gzip, compress.Snappy} {
		t.Run(codec.String(), func(t *testing.T) {
			var p buffer.Pool
			small, large := []byte("small"), make([]byte, 1<<20)
			for range 4 {
				for _, content := range [][]byte{large, small, small} {
					z, err := borrow(&p, int16(codec), compressed(t, codec, content), true, 4<<20)
					if err != nil || !bytes.Equal(z.out, content) {
						t.Fatalf("%d bytes, want %d: %v", len(z.out), len(content), err)
					}
					if n := p.Lent(); n > int64(max(4*len(content), chunkSize)) {
						t.Fatalf("a batch of %d bytes occupies %d", len(content), n)
					}
					giveBack(&p, z)
				}
			}
			if n := p.Lent(); n != 0 {
				t.Errorf("%d bytes are lent after all came back", n)
			}
		})
	}
}

func compressed(t *testing.T, codec compress.Compression, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := codec.Codec().NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
