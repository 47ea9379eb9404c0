package pulsar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

const (
	// Pauses between attempts to reach a broker.
	firstRetry = 300 * time.Millisecond
	mostRetry  = 3 * time.Second
	// Pauses between attempts to get a lock that another consumer holds.
	firstBusyRetry = 50 * time.Millisecond
	mostBusyRetry  = 250 * time.Millisecond
)

// attempt describes what try repeats.
type attempt[T any] struct {
	what         string // for the log
	subscription string // for errors
	elected      bool   // stop when another is elected
	get          func() (T, error)
	discard      func(T) // gets results that come too late
}

// try repeats an attempt until it succeeds. It reports false when another attempt is useless: ctx has ended, the topic is
// gone, another process is elected, or the source has failed.
func try[T any](ctx context.Context, c *contender, a attempt[T]) (T, bool) {
	var zero T
	s := c.s
	what := a.what + " " + c.name()
	defer s.health.Forget(what)
	defer s.answered(ctx, what)
	down, taken := newBackoff(firstRetry, mostRetry), newBackoff(firstBusyRetry, mostBusyRetry)
	var since time.Time // it is busy
	for {
		over := s.asks(ctx, what)
		v, err := client.Call(ctx, &s.calls, a.get, a.discard)
		over(err)
		if err == nil {
			return v, true
		}
		if ctx.Err() != nil {
			return zero, false
		}
		delay := down.NextBackOff()
		switch {
		case client.Busy(err):
			if since.IsZero() {
				since = time.Now()
			}
			err = fmt.Errorf("%w: %s, subscription %q: %w", ErrBusy, c.name(), a.subscription, err)
			switch tooLong := time.Since(since) >= s.cfg.BusyTimeout; {
			case tooLong && s.cfg.Alone:
				s.fail(fmt.Errorf("%w (stop the other process or program, or unset Config.Alone)", err))
				return zero, false
			case tooLong:
				s.health.Fails(ctx, what, err)
			}
			delay = taken.NextBackOff()
		case pulsarname.Limit(err) != "":
			s.health.Fails(ctx, what, pulsarname.Advise(fmt.Errorf("%w: subscription %q", err, a.subscription)))
		case client.Missing(err):
			c.vanished(true)
			poke(s.look)
			return zero, false
		default:
			final := s.log.Fatal(c.topic, a.subscription, err)
			switch {
			case final == nil && !client.Answered(err) && (s.isUnreachable() || s.isSilent()):
				// The trouble with the connection, or with the answers, says it, once for all partitions.
			case final == nil:
				s.health.Fails(ctx, what, fmt.Errorf("%w: subscription %q", s.log.Because(err), a.subscription))
			case s.matched(c):
				s.health.Fails(ctx, what, final)
			default:
				s.fail(final)
				return zero, false
			}
		}
		if !sleep(ctx, delay) || s.over() {
			return zero, false
		}
		if active, gone := c.look(); gone || a.elected && (!active || c.cautious()) {
			return zero, false
		}
	}
}

// newBackoff returns pauses that grow from first to most, without end.
func newBackoff(first, most time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first),
		backoff.WithMaxInterval(most),
		backoff.WithMaxElapsedTime(0),
	)
}

// sleep reports whether it slept for d, false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool { return pause.For(ctx, d) == nil }

// within reports whether done is closed within d.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// guarded returns *v, which mu guards.
func guarded[T any](mu *sync.Mutex, v *T) T {
	mu.Lock()
	defer mu.Unlock()
	return *v
}

// poke wakes the receiver of c, which has room for one value. It does not block.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
