package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// restAfter is how long a partition waits for messages before it frees the memory of its last batch. Thousands of
// partitions may be idle at once.
const restAfter = 30 * time.Second

var errResting = errors.New("pipeline: fetch interrupted to free memory")

// rest interrupts a Fetch that waits long, so that flow can free the memory it owns.
type rest struct {
	mu     sync.Mutex
	ctx    context.Context         //nolint:containedctx // ctx of Fetch; reused, so that a batch allocates none
	cancel context.CancelCauseFunc // cancels ctx
	holds  bool                    // there is memory to free
	since  time.Time               // when the running Fetch began; zero if none runs or there is nothing to free
}

// begin records the start of a Fetch and returns its ctx.
func (r *rest) begin(ctx context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		r.ctx, r.cancel = context.WithCancelCause(ctx)
	}
	if r.holds {
		r.since = time.Now()
	}
	return r.ctx
}

// end records that a Fetch has returned, with the number of its messages. It reports whether due interrupted it, so
// that flow must free its memory.
func (r *rest) end(messages int, err error) (resting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	r.holds = r.holds || messages > 0
	resting = err != nil && context.Cause(r.ctx) == errResting && (errors.Is(err, errResting) || errors.Is(err, context.Canceled)) //nolint:errorlint // compare the cause itself
	r.holds = r.holds && !resting
	return resting
}

// due interrupts the running Fetch if it has waited for restAfter.
func (r *rest) due(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() && now.Sub(r.since) >= restAfter {
		r.cancel(errResting)
	}
}

// over releases the ctx.
func (r *rest) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel(nil)
	}
}
