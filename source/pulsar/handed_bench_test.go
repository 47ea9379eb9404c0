package pulsar

import (
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// halfBatches returns n batches of two messages of which the second is settled.
func halfBatches(n int) (*handed, *commit.Progress) {
	h, p := newHanded(&commit.Progress{}), &commit.Progress{}
	for i := range n {
		for k := range 2 {
			h.take(&testID{ledger: 1, entry: int64(i), batch: int32(k), size: 2}, int64(2*i+k))
		}
		p.Ahead = append(p.Ahead, commit.Range{From: int64(2*i + 1), To: int64(2*i + 2)})
	}
	return h, p
}

// BenchmarkPlanHalfBatches is what a commit costs Fetch, which waits for the lock, when nothing is new.
func BenchmarkPlanHalfBatches(b *testing.B) {
	for _, n := range []int{1_000, 5_000, 20_000} {
		b.Run(fmt.Sprintf("batches=%d", n), func(b *testing.B) {
			h, p := halfBatches(n)
			b.ReportAllocs()
			for b.Loop() {
				h.plan(p, maxRequest, false)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/batch")
		})
	}
}
