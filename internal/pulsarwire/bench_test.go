package pulsarwire

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkAnnotate(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 100)
	run := func(name string, frame []byte, messages int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var head []byte
			for b.Loop() {
				head, _, _ = Annotate(head[:0], frame)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/msg")
		})
	}
	run("single", entry(meta(text(metaKey, "user-1")), value, true), 1)
	run("single-1MB", entry(meta(text(metaKey, "user-1")), bytes.Repeat(value, 10_000), true), 1)
	var batch []byte
	for range 1000 {
		batch = append(batch, message("user-1", string(value))...)
	}
	for codec := None; codec <= Snappy; codec++ {
		packed, err := codec.pack(batch)
		if err != nil {
			b.Fatal(err)
		}
		run(fmt.Sprintf("batch/codec=%d", codec), entry(meta(number(metaCompression, uint64(codec)), number(metaUncompressed, uint64(len(batch))), number(metaCount, 1000)), packed, true), 1000)
	}
}
