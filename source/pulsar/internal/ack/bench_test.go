package ack

import (
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// halfBatches returns n batches of two messages. The second of each is settled.
func halfBatches(n int) (*pending, *commit.Progress) {
	h, p := &pending{}, &commit.Progress{}
	for i := range n {
		for k := range 2 {
			h.take(&testID{ledger: 1, entry: int64(i), batch: int32(k), size: 2}, int64(2*i+k))
		}
		p.Ahead = append(p.Ahead, commit.Range{From: int64(2*i + 1), To: int64(2*i + 2)})
	}
	return h, p
}

// BenchmarkPlanHalfBatches measures how long a commit without news holds the lock that Fetch waits for.
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
