package keyed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Gated items join their lanes a piece at a time. The worker that would continue gets stuck in a turn that was expected
// to be short: the clock must notice it and wake another worker (I6).
func TestGateOpensWhileAWorkerIsStuck(t *testing.T) {
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
		e.procs = 1 // one stuck turn is enough
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
			t.Errorf("%d turns ran while one was stuck, want 2: %+v", n, e.Stats())
		}
		close(stuck)
		closeExecutor(t, e)
	})
}
