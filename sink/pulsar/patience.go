package pulsar

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/pause"
)

// patience bounds the retries of a Write. Its ctx ends with the ctx of the Write, or when the limit is over.
type patience struct {
	ctx   context.Context //nolint:containedctx // it lives as long as the patience
	end   context.CancelFunc
	began time.Time
	wait  *backoff.ExponentialBackOff // nil until the first pause
}

func newPatience(ctx context.Context, limit time.Duration) *patience {
	p := &patience{began: time.Now()}
	p.ctx, p.end = context.WithTimeoutCause(ctx, limit, fmt.Errorf("still failing after %v", limit))
	return p
}

// pause waits before the next retry. It returns an error if there is none, because the limit is over or ctx has ended.
func (p *patience) pause() error {
	if p.wait == nil {
		p.wait = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMultiplier(2),
			backoff.WithMaxInterval(time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	return pause.For(p.ctx, p.wait.NextBackOff())
}
