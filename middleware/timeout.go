package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
)

// ErrTimeout is the [context.Cause] of a ctx that timed out in [Timeout]. The error of that attempt wraps it.
var ErrTimeout = errors.New("middleware: handler timed out")

// Timeout gives every attempt its own ctx, which times out after d. The cause of the ctx is [ErrTimeout] with the duration.
//
// If the handler returns an error after the timeout, Timeout adds the cause to it. If the handler returns nil, the message is
// settled, even after the timeout. Timeout waits for a handler that ignores its ctx.
//
// Inside [Retry], each attempt gets the full duration. Timeout costs a ctx and a timer for every turn: 4 allocations, 272 B,
// about 1.2 µs (BenchmarkTimeout).
func Timeout(d time.Duration) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		if d <= 0 {
			panic(fmt.Errorf("middleware: Timeout: the duration must be positive: %v", d))
		}
		cause := fmt.Errorf("%w after %v", ErrTimeout, d)
		return func(ctx context.Context, c *keystrand.Call) error {
			try, cancel := context.WithTimeoutCause(ctx, d, cause)
			defer cancel()
			err := next(try, c)
			if err == nil || ctx.Err() != nil || try.Err() == nil || errors.Is(err, ErrTimeout) {
				return err
			}
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
}
