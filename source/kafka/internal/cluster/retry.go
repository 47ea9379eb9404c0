package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Retry calls f until it succeeds, ctx ends, or f returns a fatal error or a [backoff.PermanentError]. Health shows a
// failing f as the operation what.
func (c *Client) Retry(ctx context.Context, what string, f func(context.Context) error) error {
	bo := NewBackoff(c.Backoff)
	for {
		asking, cancel := context.WithTimeout(ctx, 2*RequestTimeout)
		err := f(asking)
		cancel()
		if err == nil {
			c.Health.Works(ctx, what)
			return nil
		}
		if ctx.Err() != nil {
			c.Health.Forget(what) // the next generation may have no reason to retry it
			return context.Cause(ctx)
		}
		if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
			return p.Err
		}
		if fatal := c.Fatal(err); fatal != nil {
			return fatal
		}
		c.Health.Fails(ctx, what, fmt.Errorf("group %q: %w", c.Group, err))
		if !Sleep(ctx, bo.NextBackOff()) {
			c.Health.Forget(what)
			return context.Cause(ctx)
		}
	}
}

// NewBackoff returns delays that grow from first to ten times first, without end.
func NewBackoff(first time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first),
		backoff.WithMaxInterval(10*first),
		backoff.WithMaxElapsedTime(0),
	)
}

// Sleep reports whether it slept for d; false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
