package commit_test

import (
	"sync"
	"sync/atomic"
	"testing"
)

// The oldest message of each window is settled last, so the frontier jumps over a whole window. An old frontier with
// newer ranges would leave the window out, and a restart would repeat it. Therefore each snapshot is counted: its sum
// is at least what was settled before the call, and at most what had begun to settle when it returned.
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
					t.Errorf("Progress holds %d messages; %d were settled before the call, %d begun after it (frontier %d, %d ranges)",
						claimed, max(least, last), most, p.Frontier, len(p.Ahead))
				}
				last = claimed
				tr.State() // contends for the lock, so that the state changes between any two steps
			}
		})
	}
	writing.Wait()
	over.Store(true)
	reading.Wait()
	if p := tr.Progress(); p.Frontier != messages || len(p.Ahead) != 0 {
		t.Errorf("final progress = %v", p)
	}
}
