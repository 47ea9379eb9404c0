package pulsar

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// patience bounds how long a Write tries to heal one trouble. Its ctx ends with the Write's, or when the time is over.
type patience struct {
	ctx   context.Context //nolint:containedctx // it is this patience's deadline, made and ended with it
	end   context.CancelFunc
	began time.Time
	wait  *backoff.ExponentialBackOff // nil until the first pause
}

func newPatience(ctx context.Context, limit time.Duration) *patience {
	p := &patience{began: time.Now()}
	p.ctx, p.end = context.WithTimeoutCause(ctx, limit, fmt.Errorf("not healed within %v", limit))
	return p
}

// pause waits before the next try. The error says why there is none.
func (p *patience) pause() error {
	if p.wait == nil {
		p.wait = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMultiplier(2),
			backoff.WithMaxInterval(time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	timer := time.NewTimer(p.wait.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}
