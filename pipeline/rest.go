package pipeline

import (
	"context"
	"errors"
	"sync"
	"time"
)

// restAfter is how long a partition waits for messages or for room before it frees memory that it does not need
// meanwhile: the buffers of its last batch and, if nothing is in flight, its owner. Thousands of partitions may be idle
// at once.
const restAfter = 30 * time.Second

var errResting = errors.New("pipeline: interrupted to free memory")

// rest has the ctx of flow and interrupts a long wait, so that flow can free memory.
type rest struct {
	mu       sync.Mutex
	ctx      context.Context         //nolint:containedctx // reused, so that a batch allocates none
	cancel   context.CancelCauseFunc // cancels ctx
	stopped  error                   // cause of stop; nil before
	buffers  bool                    // flow has the buffers of a batch
	attended bool                    // the partition has an owner
	since    time.Time               // when the wait began; zero if flow does not wait or there is nothing to free
}

// begin records the start of a wait and returns its ctx, a child of run.
func (r *rest) begin(run context.Context, attended bool) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewLocked(run)
	r.attended = attended
	if r.buffers || attended {
		r.since = time.Now()
	}
	return r.ctx
}

// end records that the wait has ended. It reports whether due has interrupted it, so that flow must free memory.
func (r *rest) end(run context.Context, err error) (resting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
	resting = err != nil && context.Cause(r.ctx) == errResting && (errors.Is(err, errResting) || errors.Is(err, context.Canceled)) //nolint:errorlint // compare the cause itself
	r.buffers = !resting && (r.buffers || err == nil)
	r.renewLocked(run)
	return resting
}

// renewLocked makes another ctx if there is none or due has cancelled it.
func (r *rest) renewLocked(run context.Context) {
	if r.ctx != nil && context.Cause(r.ctx) != errResting { //nolint:errorlint // compare the cause itself
		return
	}
	r.ctx, r.cancel = context.WithCancelCause(run)
	if r.stopped != nil {
		r.cancel(r.stopped)
	}
}

// due interrupts a wait of restAfter if there is something to free. idle reports whether flow needs no owner.
func (r *rest) due(now time.Time, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() && now.Sub(r.since) >= restAfter && (r.buffers || r.attended && idle) {
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
