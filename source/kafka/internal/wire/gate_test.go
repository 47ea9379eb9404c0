package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateBoundsQuickRequestsAndDelaysNoneForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		var now, most atomic.Int64
		var running sync.WaitGroup
		for range 1000 {
			running.Go(func() {
				leave := g.enter(t.Context())
				defer leave()
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Millisecond)
				now.Add(-1)
			})
		}
		running.Wait()
		if n := most.Load(); n > gatePlaces {
			t.Errorf("%d requests together, want at most %d", n, gatePlaces)
		}

		for range gatePlaces { // brokers that do not answer
			g.enter(t.Context())
		}
		began := time.Now()
		leave := g.enter(t.Context())
		if d := time.Since(began); d != gatePatience {
			t.Errorf("waited %v, want %v", d, gatePatience)
		}
		leave()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		g.enter(ctx)()
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v after the end of ctx", d)
		}
	})
}
