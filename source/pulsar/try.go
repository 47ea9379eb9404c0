package pulsar

import (
	"context"
	"fmt"
	"time"
)

// Between two tries to get a lock that somebody else has.
const (
	firstBusyRetry = 50 * time.Millisecond
	mostBusyRetry  = 250 * time.Millisecond
)

// try calls f until it succeeds. It reports false when there is no use in going on: ctx has ended, the topic is gone, we
// are not proposed, or the source has failed.
func try[T any](ctx context.Context, c *contender, what string, f func() (T, error), discard func(T)) (T, bool) {
	var nothing T
	s := c.s
	what += " " + c.name()
	defer s.health.Forget(what)
	bo, held := newBackoff(firstRetry, mostRetry), newBackoff(firstBusyRetry, mostBusyRetry)
	var since time.Time
	for {
		v, err := call(ctx, s, f, discard)
		if err == nil {
			return v, true
		}
		if ctx.Err() != nil {
			return nothing, false
		}
		delay := bo.NextBackOff()
		switch {
		case busy(err):
			if since.IsZero() {
				since = time.Now()
			}
			err = fmt.Errorf("%w: %s, subscription %q: %w", ErrBusy, c.name(), s.subscription, err)
			switch held := time.Since(since) >= s.cfg.BusyTimeout; {
			case held && s.cfg.Alone:
				s.fail(fmt.Errorf("%w (another process, or another program; with Alone there may be one only)", err))
				return nothing, false
			case held:
				s.health.Fails(ctx, what, err)
			}
			delay = held.NextBackOff()
		case missing(err):
			c.vanished(true)
			poke(s.look)
			return nothing, false
		default:
			if f := s.fatal(c.topic, err); f != nil {
				s.fail(f)
				return nothing, false
			}
			s.health.Fails(ctx, what, fmt.Errorf("subscription %q: %w", s.subscription, s.lines.because(err)))
		}
		if !sleep(ctx, delay) || s.over() {
			return nothing, false
		}
		if active, gone := c.look(); gone || what[0] == 'a' && (!active || c.waits()) {
			return nothing, false
		}
	}
}
