package records

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand/source"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
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
				body = append(body, kafkatest.Record(i, []byte("key"), v)...)
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
				set = append(set, kafkatest.Batch{Base: i * n, Last: n - 1, Attrs: int16(codec), Body: body, Count: n}.Bytes()...)
			}
			out := source.Batch{MaxMessages: 500, MaxBytes: 1 << 20}
			d := NewDecoder("t", 0, 0, true, &Epochs{}, &buffer.Pool{})
			b.ReportAllocs()
			for done := 0; done < b.N; done += n * batches {
				d.next = 0
				whole, _, _, err := Scan(set, 0)
				if err != nil {
					b.Fatal(err)
				}
				d.Load(whole, nil)
				for !d.Empty() {
					out.Messages = out.Messages[:0]
					if err := d.Fill(&out); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
