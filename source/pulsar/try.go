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

// aim is what try is to get.
type aim[T any] struct {
	what         string // for the log
	subscription string // for errors
	proposed     bool   // it is of use only to the one who is proposed
	get          func() (T, error)
	discard      func(T) // takes what comes too late
}

// try tries to get something until it has it. It reports false when there is no use in going on: ctx has ended, the topic is
// gone, another is proposed, or the source has failed.
func try[T any](ctx context.Context, c *contender, a aim[T]) (T, bool) {
	var nothing T
	s := c.s
	what := a.what + " " + c.name()
	defer s.health.Forget(what)
	down, taken := newBackoff(firstRetry, mostRetry), newBackoff(firstBusyRetry, mostBusyRetry)
	var since time.Time // it is busy
	for {
		v, err := call(ctx, s, a.get, a.discard)
		if err == nil {
			return v, true
		}
		if ctx.Err() != nil {
			return nothing, false
		}
		delay := down.NextBackOff()
		switch {
		case busy(err):
			if since.IsZero() {
				since = time.Now()
			}
			err = fmt.Errorf("%w: %s, subscription %q: %w", ErrBusy, c.name(), a.subscription, err)
			switch tooLong := time.Since(since) >= s.cfg.BusyTimeout; {
			case tooLong && s.cfg.Alone:
				s.fail(fmt.Errorf("%w (another process, or another program; with Alone there may be one only)", err))
				return nothing, false
			case tooLong:
				s.health.Fails(ctx, what, err)
			}
			delay = taken.NextBackOff()
		case missing(err):
			c.vanished(true)
			poke(s.look)
			return nothing, false
		default:
			final := s.fatal(c.topic, a.subscription, err)
			switch {
			case final == nil:
				s.health.Fails(ctx, what, fmt.Errorf("subscription %q: %w", a.subscription, s.lines.because(err)))
			case s.matched(c):
				s.health.Fails(ctx, what, final)
			default:
				s.fail(final)
				return nothing, false
			}
		}
		if !sleep(ctx, delay) || s.over() {
			return nothing, false
		}
		if active, gone := c.look(); gone || a.proposed && (!active || c.waits()) {
			return nothing, false
		}
	}
}
