package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// restAfter is how long a partition waits for messages or for room before it frees the memory of its last batch.
// Thousands of partitions may be idle at once.
const restAfter = 5 * time.Second

var errResting = errors.New("pipeline: interrupted to free memory")

// rest has the ctx of flow and interrupts a long wait, so that flow can free the memory it owns.
type rest struct {
	mu      sync.Mutex
	ctx     context.Context         //nolint:containedctx // reused, so that a batch allocates none
	cancel  context.CancelCauseFunc // cancels ctx
	stopped error                   // cause of stop; nil before
	holds   bool                    // there is memory to free
	since   time.Time               // when the wait began; zero if flow does not wait or there is nothing to free
}

// begin records the start of a wait and returns its ctx, a child of run.
func (r *rest) begin(run context.Context) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		r.renewLocked(run)
	}
	if r.holds {
		r.since = time.Now()
	}
	return r.ctx
}

// end records that the wait has ended. It reports whether due has interrupted it, so that flow must free its memory.
func (r *rest) end(run context.Context, err error) (resting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	interrupted := context.Cause(r.ctx) == errResting //nolint:errorlint,contextcheck // compare the cause itself, of the ctx that begin has made
	if interrupted {
		r.renewLocked(run)
	}
	resting = interrupted && (errors.Is(err, errResting) || errors.Is(err, context.Canceled))
	r.holds = !resting && (r.holds || err == nil)
	return resting
}

func (r *rest) renewLocked(run context.Context) {
	r.ctx, r.cancel = context.WithCancelCause(run)
	if r.stopped != nil {
		r.cancel(r.stopped)
	}
}

// due interrupts a wait of restAfter.
func (r *rest) due(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() && now.Sub(r.since) >= restAfter {
		r.cancel(errResting)
	}
}

// stop ends the ctx of flow, now and later.
func (r *rest) stop(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = cause
	if r.cancel != nil {
		r.cancel(cause)
	}
}
