package commit_test

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Frontier and ranges of one moment, counted. The oldest message of each window is settled last, so the frontier jumps
// over a whole window: a frontier from before the jump beside ranges from after it would leave the window out, and a
// restart would repeat it. The sum of what a snapshot claims lies between what was settled before it was asked for and
// what anybody had begun to settle when it came back.
func TestProgressNeverMixesTwoMoments(t *testing.T) {
	const messages, window, settlers, readers = 64_000, 64, 3, 3
	tr := newTracker(t, nil, upTo(0, messages), messages)
	var begun, settled atomic.Int64
	var over atomic.Bool
	settle := func(numbers []int64) {
		begun.Add(int64(len(numbers)))
		if err := tr.Settle(numbers); err != nil {
			t.Error(err)
		}
		settled.Add(int64(len(numbers)))
	}
	var writing, reading sync.WaitGroup
	for k := range int64(settlers) {
		writing.Go(func() {
			for first := k * window; first < messages; first += settlers * window {
				settle(upTo(first+1, min(first+window, messages)))
				settle([]int64{first})
			}
		})
	}
	for range readers {
		reading.Go(func() {
			for last := int64(0); !over.Load() && !t.Failed(); {
				least := settled.Load()
				p := tr.Progress()
				most := begun.Load()
				claimed := p.Frontier + sumOf(p.Ahead)
				if claimed < max(least, last) || claimed > most {
					t.Errorf("progress claims %d messages; %d were settled before, %d begun after (frontier %d, %d ranges)",
						claimed, max(least, last), most, p.Frontier, len(p.Ahead))
				}
				last = claimed
				tr.State() // a second taker of the lock, so that moments change between two of anything
			}
		})
	}
	writing.Wait()
	over.Store(true)
	reading.Wait()
	if p := tr.Progress(); p.Frontier != messages || len(p.Ahead) != 0 {
		t.Errorf("at the end: %v", p)
	}
}
