package fetch

import (
	"context"
	"sync/atomic"
)

// demand counts the responses that Read waits for, so that the fetcher can tell a response that Read wants from one that
// it fetches ahead. Read asks, and the fetcher compares with what it has handed over.
type demand struct {
	asked atomic.Int64
	wake  chan struct{} // with room for one
}

func newDemand() demand { return demand{wake: make(chan struct{}, 1)} }

// ask says that Read wants one more response.
func (d *demand) ask() {
	d.asked.Add(1)
	select {
	case d.wake <- struct{}{}:
	default: // the fetcher will see this one, too
	}
}

// exceeds reports whether Read has asked for more than n responses.
func (d *demand) exceeds(n int64) bool { return d.asked.Load() > n }

// await waits until Read has asked for more than n responses. It reports false if ctx ends first.
func (d *demand) await(ctx context.Context, n int64) bool {
	for !d.exceeds(n) {
		select {
		case <-d.wake:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
