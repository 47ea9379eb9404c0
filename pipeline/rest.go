package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// restAfter is how long a partition waits for messages before it gives back the memory of its last batch. Thousands of
// partitions may be idle at once: a binlog has one for each table.
const restAfter = 30 * time.Second

var errResting = errors.New("pipeline: the partition is idle and gives memory back")

// rest interrupts a Fetch that waits long, so that flow, to which the memory belongs, can give it back.
type rest struct {
	mu     sync.Mutex
	ctx    context.Context         //nolint:containedctx // of Fetch; the same for many, so that a batch costs none
	cancel context.CancelCauseFunc // of ctx
	holds  bool                    // there is something to give back
	since  time.Time               // when the Fetch under way began; zero: none is, or it holds nothing
}

// begin returns the ctx of the Fetch that begins.
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

// end notes that a Fetch has returned, with how many messages, and reports whether it returned because of due. Then
// nothing is held any more.
func (r *rest) end(messages int, err error) (resting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	r.holds = r.holds || messages > 0
	resting = err != nil && context.Cause(r.ctx) == errResting && (errors.Is(err, errResting) || errors.Is(err, context.Canceled)) //nolint:errorlint // the very cause
	r.holds = r.holds && !resting
	return resting
}

// due interrupts the Fetch under way if it has waited long.
func (r *rest) due(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() && now.Sub(r.since) >= restAfter {
		r.cancel(errResting)
	}
}

// over frees the ctx.
func (r *rest) over() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel(nil)
	}
}
