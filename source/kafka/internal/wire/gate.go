package wire

import (
	"context"
	"time"
)

// Gate makes thousands of partitions that ask the same question at once share a few connections. It bounds no request that
// would wait for long: brokers that do not answer must not delay questions to the others.
//
// A Gate is safe for concurrent use.
type Gate struct{ places chan struct{} }

const (
	gatePlaces   = 16
	gatePatience = time.Second
)

// NewGate returns a Gate.
func NewGate() *Gate { return &Gate{places: make(chan struct{}, gatePlaces)} }

// enter waits for a place, at most gatePatience or until ctx ends. The caller calls leave after its request.
func (g *Gate) enter(ctx context.Context) (leave func()) {
	if g == nil {
		return func() {}
	}
	patience := time.NewTimer(gatePatience)
	defer patience.Stop()
	select {
	case g.places <- struct{}{}:
		return func() { <-g.places }
	case <-patience.C:
	case <-ctx.Done():
	}
	return func() {}
}
