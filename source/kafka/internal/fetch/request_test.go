package fetch

import (
	"testing"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Seed corpus: a response with one batch and an aborted transaction, in the oldest version that is read, and the batch.
func FuzzFetchResponseNeverPanics(f *testing.F) {
	set := kafkatest.Batch{Base: 3, Last: 1, Records: []int{0, 1}}.Bytes()
	var w wire.Writer
	w.I32(0)
	w.Length(1)
	w.Text("t")
	w.Length(1)
	w.I32(0)
	w.I16(0)
	w.I64(5)
	w.I64(4)
	w.Length(1)
	w.I64(7)
	w.I64(3)
	w.Length(len(set))
	w.B = append(w.B, set...)
	got, err := parseFetch(wire.Reader{B: w.B}, &fetchRequest{version: 4})
	if err != nil || got.err != nil || got.stable != 4 || len(got.aborted) != 1 || len(got.set) != len(set) {
		f.Fatalf("the seed is read as %+v, %v", got, err)
	}
	f.Add(w.B)
	f.Add(set)
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, v := range []int16{4, 7, 11, 12, 13} {
			_, _ = parseFetch(wire.Reader{B: b, Flexible: wire.Flexible(wire.KeyFetch, v)}, &fetchRequest{version: v})
		}
	})
}
