package metadata

import (
	"testing"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Seed corpus: the metadata of two brokers and a topic with two partitions, in the oldest version that is read.
func FuzzMetadataNeverPanics(f *testing.F) {
	var w wire.Writer
	w.I32(0)
	w.Length(2)
	for id := range int32(2) {
		w.I32(id)
		w.Text("localhost")
		w.I32(9092)
		w.Text("rack")
	}
	w.Text("id")
	w.I32(1)
	w.Length(1)
	w.I16(0)
	w.Text("t")
	w.Bool(false)
	w.Length(2)
	for p := range int32(2) {
		w.I16(0)
		w.I32(p)
		w.I32(1)
		for range 2 {
			w.Length(1)
			w.I32(1)
		}
	}
	got, err := parseMetadata(wire.Reader{B: w.B}, 4)
	if t := got.topics["t"]; err != nil || len(got.brokers) != 2 || len(t.partitions) != 2 || t.partitions[1].leader != 1 {
		f.Fatalf("the seed is read as %+v, %v", got, err)
	}
	f.Add(w.B)
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, v := range []int16{4, 8, 9, 12} {
			_, _ = parseMetadata(wire.Reader{B: b, Flexible: wire.Flexible(wire.KeyMetadata, v)}, v)
		}
	})
}
