package commit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// BenchmarkTracker tracks and settles messages; one op is one message. Track and Settle get batches of the same size.
func BenchmarkTracker(b *testing.B) {
	const window = 10_000
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("order=in/batch=%d", batch), func(b *testing.B) { benchmarkTracker(b, batch, 0, 1, nil) })
		b.Run(fmt.Sprintf("order=in/log=compacted/batch=%d", batch), func(b *testing.B) { benchmarkTracker(b, batch, 0, 3, nil) })
		b.Run(fmt.Sprintf("order=stuck/batch=%d", batch), func(b *testing.B) { benchmarkTracker(b, batch, 1, 1, nil) })
		b.Run(fmt.Sprintf("order=random/batch=%d", batch), func(b *testing.B) {
			// Each window is shuffled in the same way. Window k is settled after window k+1 is tracked.
			benchmarkTracker(b, batch, 0, 1, rand.New(rand.NewPCG(1, 1)).Perm(window))
		})
	}
}

func benchmarkTracker(b *testing.B, batch, stuck int, step int64, shuffle []int) {
	b.Helper()
	b.ReportAllocs()
	tr := commit.NewTracker(nil)
	offsets, numbers, at := make([]int64, batch), make([]int64, batch), int64(0)
	track := func() int64 {
		for i := range offsets {
			offsets[i] = at
			at += step
		}
		first, _, err := tr.Track(offsets, at)
		if err != nil {
			b.Fatal(err)
		}
		return first
	}
	settle := func(numbers []int64) {
		if err := tr.Settle(numbers); err != nil {
			b.Fatal(err)
		}
	}
	if stuck > 0 { // message 0 is never settled
		first := track()
		for i := range numbers[1:] {
			settle([]int64{first + 1 + int64(i)})
		}
	}
	window := len(shuffle) / batch * batch
	for range window / batch {
		track()
	}
	settled := 0
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		first := track()
		for i := range numbers {
			numbers[i] = first + int64(i)
			if window > 0 {
				base := settled / window * window
				k := shuffle[settled%window]
				for k >= window { // the window is a few messages longer than whole batches
					k = shuffle[k]
				}
				numbers[i] = int64(base + k)
				settled++
			}
		}
		settle(numbers)
	}
}

// BenchmarkProgress takes a snapshot of this many settled messages ahead of a stuck one.
func BenchmarkProgress(b *testing.B) {
	for name, nth := range map[string]int64{"all settled": 1 << 40, "every 100th stuck": 100} {
		for _, ahead := range []int64{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/ahead=%d", name, ahead), func(b *testing.B) {
				tr := commit.NewTracker(nil)
				if _, _, err := tr.Track(upTo(0, ahead), ahead); err != nil {
					b.Fatal(err)
				}
				for n := range ahead {
					if n%nth != 0 {
						if err := tr.Settle([]int64{n}); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					tr.Progress()
				}
			})
		}
	}
}
