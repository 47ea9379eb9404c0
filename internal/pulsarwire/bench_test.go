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
			var a Annotator
			stamped := bytes.Clone(frame)
			for b.Loop() {
				copy(stamped, frame)
				if _, _, ok := a.Annotate(stamped); !ok {
					b.Fatal("not annotated")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/msg")
		})
	}
	run("single", entry(from("standalone-0-0", 41, text(metaKey, "user-1")), value, true), 1)
	run("single/short-name", entry(meta(text(metaKey, "user-1")), value, true), 1)
	run("single-1MB", entry(from("standalone-0-0", 41, text(metaKey, "user-1")), bytes.Repeat(value, 10_000), true), 1)
	var batch []byte
	for i := range 1000 {
		batch = append(batch, unnumbered("user-1", string(value), number(singleEvent, 1_700_000_000_000), number(singleSequence, uint64(41+i)))...)
	}
	for codec := None; codec <= Snappy; codec++ {
		packed, err := codec.pack(batch)
		if err != nil {
			b.Fatal(err)
		}
		run(fmt.Sprintf("batch/codec=%d", codec), entry(from("standalone-0-0", 41, number(metaCompression, uint64(codec)), number(metaUncompressed, uint64(len(batch))), number(metaCount, 1000)), packed, true), 1000)
	}
}
