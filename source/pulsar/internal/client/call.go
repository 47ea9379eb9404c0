package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNoAnswer is the error of an abandoned call.
var ErrNoAnswer = errors.New("no answer")

// Group runs goroutines and calls of the library that may hang.
type Group struct {
	sync.WaitGroup
	Timeout time.Duration // of one operation of the library
}

// Bound returns how long a call may take. The library looks a topic up in up to three requests, and tries each for one
// operation timeout.
func (g *Group) Bound() time.Duration { return 4 * g.Timeout }

// Call runs f on a goroutine of its own. It returns the result of f, or an error when ctx has ended or the bound of the
// group has passed. A result that comes later is given to discard.
func Call[T any](ctx context.Context, g *Group, f func() (T, error), discard func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var zero T
	if ctx.Err() != nil {
		return zero, context.Cause(ctx)
	}
	results := make(chan result)
	ctx, cancel := context.WithTimeoutCause(ctx, g.Bound(), fmt.Errorf("%w from the client library within %v", ErrNoAnswer, g.Bound()))
	defer cancel()
	abandoned := make(chan struct{})
	g.Go(func() {
		v, err := f()
		select {
		case results <- result{v, err}:
		case <-abandoned:
			if err == nil {
				discard(v)
			}
		}
	})
	select {
	case r := <-results:
		return r.v, r.err
	case <-ctx.Done():
		close(abandoned)
		return zero, context.Cause(ctx)
	}
}

// Do is [Call] for an f without a result.
func (g *Group) Do(ctx context.Context, f func() error) error {
	_, err := Call(ctx, g, func() (struct{}, error) { return struct{}{}, f() }, func(struct{}) {})
	return err
}
