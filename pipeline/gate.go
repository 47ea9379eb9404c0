package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate lets goroutines wait for conditions that others change. A poke costs one atomic load while no goroutine waits.
type gate struct {
	waiting atomic.Int32 // goroutines in await; read by poke
	mu      sync.Mutex
	changed sync.Cond
}

func newGate() *gate {
	g := &gate{}
	g.changed.L = &g.mu
	return g
}

// await blocks until ok returns true or ctx ends. ok is called with the gate's lock held and must not block.
func (g *gate) await(ctx context.Context, ok func() bool) error {
	if ok() {
		return nil
	}
	stop := context.AfterFunc(ctx, g.broadcast)
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	for !ok() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.changed.Wait()
	}
	return nil
}

// poke makes the waiting goroutines check their conditions again. Call it after a change.
func (g *gate) poke() {
	if g.waiting.Load() > 0 { // await adds to waiting before it calls ok, so it cannot miss the change
		g.broadcast()
	}
}

func (g *gate) broadcast() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed.Broadcast()
}
