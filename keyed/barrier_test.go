package keyed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What waited behind a barrier joins its lanes in pieces. The worker that was to go on with that gets stuck in a turn that
// was to be short: the clock must notice and wake another (I6).
func TestStuckTurnDoesNotKeepTheGateShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var ran atomic.Int64
		e := newExecutor(t, Config[string]{Workers: 4, Run: func(t *Turn[string]) Result {
			if *t.Items[0] == "stuck" {
				<-stuck
			} else {
				ran.Add(1)
			}
			return Result{Done: 1}
		}})
		e.procs = 1 // one such turn is enough
		q := e.Open(ID{}, nil)
		q.Batch().AddBarrier() // a short turn; the clock has not started
		for range joinAtOnce {
			*q.Batch().Add("stuck") = "stuck"
		}
		q.Batch().Add("other")
		submit(t, q)
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		if n := ran.Load(); n != 2 {
			t.Errorf("%d turns ran beside the stuck one, want 2: %+v", n, e.Stats())
		}
		close(stuck)
		closeExecutor(t, e)
	})
}
