package keyed

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A claim of several lanes is older than a tick, all its turns have returned, and its worker is still in Finish. The
// clock has nothing to take over, but must be woken when the claim ends; otherwise Close waits for the clock forever.
func TestCloseReturnsAfterASlowFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run:     func(*Turn[int]) Result { return Result{Done: 1} },
			Finish: func(*Queue[int], []*int) {
				if slow.Load() {
					time.Sleep(10 * time.Millisecond)
				}
			},
		})
		q := e.Open(ID{}, nil)
		for range 2 { // too few to be trimmed, which would also wake the clock
			for i := range 500 {
				q.Batch().Add(fmt.Sprint(i))
			}
			submit(t, q)
			synctest.Wait()
			slow.Store(true)
		}
		if w := e.workers[0]; w.n < 2 {
			t.Fatalf("the claim has %d lanes, want several: the test proves nothing", w.n)
		}
		time.Sleep(5 * time.Millisecond) // the clock has run
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("Close = %v after every turn has returned: %d goroutines are left", err, e.live)
			e.poked <- struct{}{} // wake the clock, so that the bubble can end
		}
	})
}
