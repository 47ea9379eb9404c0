package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// No wake-up is lost at a gate: many wait for conditions of their own while others change and poke.
func TestGateLosesNoWakeUp(t *testing.T) {
	g := newGate()
	var n atomic.Int64
	var wg sync.WaitGroup
	for w := range int64(4) {
		wg.Go(func() {
			for i := range int64(500) {
				want := i*4 + w
				if err := g.await(t.Context(), func() bool { return n.Load() >= want }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for range 500 {
				n.Add(1)
				g.poke()
			}
		})
	}
	wg.Wait()
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if g.await(ctx, func() bool { return false }) == nil {
			t.Fatal("await returned nil")
		}
	}
}
