package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// retry calls f until it succeeds, ctx ends, or its error is one that waiting cannot heal.
func (s *Source) retry(ctx context.Context, what string, f func(context.Context) error) error {
	bo := newBackoff(s.cfg.JoinBackoff)
	for {
		asking, cancel := context.WithTimeout(ctx, 2*requestTimeout)
		err := f(asking)
		cancel()
		if err == nil {
			s.health.Works(ctx, what)
			return nil
		}
		if ctx.Err() != nil {
			s.health.Forget(what) // the next generation may have no reason to try it
			return context.Cause(ctx)
		}
		if end, ok := errors.AsType[final](err); ok {
			return end.error
		}
		if f := s.fatal(err); f != nil {
			return f
		}
		s.health.Fails(ctx, what, fmt.Errorf("group %q: %w", s.group, err))
		if !sleep(ctx, bo.NextBackOff()) {
			s.health.Forget(what)
			return context.Cause(ctx)
		}
	}
}

// newBackoff returns delays that begin at first and grow to ten times as much, for ever.
func newBackoff(first time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first),
		backoff.WithMaxInterval(10*first),
		backoff.WithMaxElapsedTime(0),
	)
}

// sleep reports whether it slept for d, false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
