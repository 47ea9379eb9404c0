package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate lets goroutines wait for conditions that others change. Telling it of a change costs one atomic load while
// nobody waits.
type gate struct {
	waiting atomic.Int32 // how many are in await; read by poke
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

// poke says that the condition may have changed. What was changed must be visible before the call.
func (g *gate) poke() {
	if g.waiting.Load() > 0 { // await sets it before it looks at the condition: one of the two sees the other
		g.broadcast()
	}
}

func (g *gate) broadcast() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed.Broadcast()
}
