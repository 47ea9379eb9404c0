package keyed

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// After a burst, an executor without work keeps no worker, no unused memory and no timer. Later work runs as before.
func TestIdleExecutorKeepsNothingOfABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 50
		var settled atomic.Int64
		e := newExecutor(t, Config[int]{Workers: workers, Run: func(*Turn[int]) Result {
			time.Sleep(time.Millisecond)
			return Result{Done: 1}
		}, Finish: func(_ *Queue[int], items []*int) { settled.Add(int64(len(items))) }})
		q := e.Open(ID{Name: "a"}, nil)
		for round := range 2 {
			for i := range 10 * trimKeep {
				*q.Batch().Add(fmt.Sprint(i)) = i
			}
			submit(t, q)
			synctest.Wait()
			time.Sleep(time.Hour)
			e.mu.Lock()
			if n := settled.Load(); n != int64(round+1)*10*trimKeep {
				t.Errorf("round %d: %d items have left", round, n)
			}
			if e.started != 0 || len(e.nodes.free)+len(e.lanes.free) != 0 || e.trimAt != 1<<63-1 {
				t.Errorf("round %d: after an hour %d workers, %d items and %d lanes are kept, next trim at %d",
					round, e.started, len(e.nodes.free), len(e.lanes.free), e.trimAt)
			}
			e.mu.Unlock()
		}
		q.Fence(nil)
		closeExecutor(t, e)
	})
}
