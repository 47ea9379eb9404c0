package pulsar

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Between two tries to reach a broker.
const (
	firstRetry = 300 * time.Millisecond
	mostRetry  = 3 * time.Second
)

// patientCalls is how many operation timeouts a call of the library may take: it looks a topic up in up to three requests,
// each of which it tries for one.
const patientCalls = 4

// errNoAnswer is why a call is abandoned.
var errNoAnswer = errors.New("no answer")

// call runs a call of the library apart, since it knows no ctx and may hang. It returns what f returns, or an error when
// ctx has ended or it has taken too long; what f still brings is then given to discard.
func call[T any](ctx context.Context, s *Source, f func() (T, error), discard func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var nothing T
	if ctx.Err() != nil {
		return nothing, context.Cause(ctx)
	}
	results := make(chan result)
	bound := patientCalls * s.cfg.OperationTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("%w from the client library within %v", errNoAnswer, bound))
	defer cancel()
	abandoned := make(chan struct{})
	s.running.Go(func() {
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
		return nothing, context.Cause(ctx)
	}
}

// bounded is call for what brings nothing.
func (s *Source) bounded(ctx context.Context, f func() error) error {
	_, err := call(ctx, s, func() (struct{}, error) { return struct{}{}, f() }, func(struct{}) {})
	return err
}

// apart runs what may hang and nobody waits for but Close.
func (s *Source) apart(f func()) { s.running.Go(f) }
