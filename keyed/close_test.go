package keyed

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A claim of several lanes that is older than a tick, all its turns returned, its worker still in Finish: the clock can
// take nothing over from it, and must learn all the same when it has gone, or Close waits for the clock for ever.
func TestCloseEndsWhenTheLastClaimWasInFinishForLong(t *testing.T) {
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
		for range 2 { // few enough that nothing is to be trimmed, which would wake the clock too
			for i := range 500 {
				q.Batch().Add(fmt.Sprint(i))
			}
			submit(t, q)
			synctest.Wait()
			slow.Store(true)
		}
		if w := e.workers[0]; w.n < 2 {
			t.Fatalf("the claim is of %d lanes: the test is void", w.n)
		}
		time.Sleep(5 * time.Millisecond) // the clock has looked
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("Close = %v, though every turn has returned: %d goroutines", err, e.live)
			e.poked <- struct{}{} // let the bubble end
		}
	})
}
