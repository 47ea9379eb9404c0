package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
)

// recorder is the outermost middleware. It records every turn.
type recorder struct {
	start time.Time
	over  context.Context //nolint:containedctx // ends all turns: nil for never

	mu      sync.Mutex
	calls   []Call
	running map[int]bool // indexes in calls
}

func (r *recorder) middleware(next keystrand.Next) keystrand.Next {
	return func(ctx context.Context, c *keystrand.Call) (err error) {
		i := r.begin(c)
		err = errExited
		defer func() { r.end(i, err) }()
		if r.over == nil {
			err = next(ctx, c)
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := context.AfterFunc(r.over, func() { cancel(context.Cause(r.over)) }) //nolint:contextcheck // one of two that end the turn
		defer stop()
		err = next(ctx, c)
		if err != nil && r.over.Err() != nil {
			return keystrand.RetryAfter(time.Hour, err) // not a failure: its ctx has ended
		}
		return err
	}
}

func (r *recorder) begin(c *keystrand.Call) int {
	m := c.Messages[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.calls)
	r.calls = append(r.calls, Call{Key: string(m.Key), Offset: m.Offset, Messages: len(c.Messages), Attempt: int(m.Attempt), Start: time.Since(r.start)})
	r.running[i] = true
	return i
}

func (r *recorder) end(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[i].End, r.calls[i].Err = time.Since(r.start), err
	delete(r.running, i)
}

// ended returns the calls that have ended: all but those of handlers that were given up.
func (r *recorder) ended() (all []Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.calls {
		if !r.running[i] {
			all = append(all, c)
		}
	}
	return all
}

// handled describes the messages whose handlers run now.
func (r *recorder) handled() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, i := range slices.Sorted(maps.Keys(r.running)) {
		c := r.calls[i]
		all = append(all, fmt.Sprintf("key %q, offset %d, attempt %d: the handler has run for %v", c.Key, c.Offset, c.Attempt, time.Since(r.start)-c.Start))
	}
	return strings.Join(all, "\n")
}

var errExited = errors.New("pipelinetest: the handler called runtime.Goexit")
