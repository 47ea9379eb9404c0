package fetch

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source"
)

// BenchmarkDecode is the cost of a message between the response's bytes and the batch, checksum included, without a
// broker; one op is one message.
func BenchmarkDecode(b *testing.B) {
	for name, codec := range map[string]compress.Compression{
		"none": compress.None, "gzip": compress.Gzip, "snappy": compress.Snappy, "lz4": compress.Lz4, "zstd": compress.Zstd,
	} {
		b.Run(name, func(b *testing.B) {
			const n, batches = 1000, 5
			rng := rand.New(rand.NewPCG(1, 2))
			var body []byte
			for i := range n {
				v := make([]byte, 100)
				for j := range 30 {
					v[70+j] = byte(rng.Uint32())
				}
				body = append(body, record(i, []byte("key"), v)...)
			}
			if c := codec.Codec(); c != nil {
				var out bytes.Buffer
				w := c.NewWriter(&out)
				if _, err := w.Write(body); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
				body = out.Bytes()
			}
			var set []byte
			for i := range int64(batches) {
				set = append(set, raw{base: i * n, last: n - 1, attrs: int16(codec), body: body, count: n}.bytes()...)
			}
			out := source.Batch{MaxMessages: 500, MaxBytes: 1 << 20}
			d := newDecoder("t", 0, 0, true, &epochs{}, &Buffers{})
			b.ReportAllocs()
			for done := 0; done < b.N; done += n * batches {
				d.next = 0
				whole, _, _, err := scan(set, 0)
				if err != nil {
					b.Fatal(err)
				}
				d.load(whole, nil)
				for !d.empty() {
					out.Messages = out.Messages[:0]
					if err := d.fill(&out); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
