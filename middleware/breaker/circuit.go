package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keystrand/keystrand"
)

// circuit is one breaker.
//
// A circuit is safe for concurrent use.
type circuit struct {
	cfg    *Config
	label  string
	reason string
	gb     *gobreaker.CircuitBreaker[struct{}]

	untold atomic.Bool // changes is not empty

	mu      sync.Mutex // taken while the mutex of gb is held
	changes []change   // not logged yet
	last    string     // the last error that counted as a failure
	since   time.Time  // when the breaker opened; zero while it is closed
	until   time.Time  // when it may be half-open
}

// change is a change of the state.
type change struct {
	to    gobreaker.State
	err   string        // that opened the breaker
	after time.Duration // since it opened first
}

// Errors that tell gobreaker how a turn counts.
var (
	errFailure = errors.New("breaker: failure")
	errNeither = errors.New("breaker: neither success nor failure")
	errExited  = errors.New("breaker: the handler called runtime.Goexit")
)

func newCircuit(cfg *Config, label string) *circuit {
	c := &circuit{cfg: cfg, label: label, reason: fmt.Sprintf("breaker %q is open", cfg.Name)}
	if label != "" {
		c.reason = fmt.Sprintf("breaker %q of %.64q is open", cfg.Name, label)
	}
	c.gb = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          cfg.Name,
		MaxRequests:   uint32(cfg.Probes), // validated
		Interval:      cfg.Window,
		BucketPeriod:  cfg.Window / 10,
		Timeout:       cfg.OpenFor,
		ReadyToTrip:   cfg.Trip,
		OnStateChange: func(_ string, _, to gobreaker.State) { c.changed(to) },
		IsExcluded:    func(err error) bool { return err == errNeither }, //nolint:errorlint // never wrapped
	})
	return c
}

// run runs a turn, or postpones it.
func (c *circuit) run(ctx context.Context, next keystrand.Next, call *keystrand.Call) (err error) {
	counted, exited := neither, false
	defer func() {
		if exited { // its panic has told gobreaker; the goroutine goes on to exit
			_ = recover()
		}
		c.tell(ctx)
	}()
	_, refused := c.gb.Execute(func() (struct{}, error) {
		c.tell(ctx) // half-open, before the probe ends
		returned := false
		defer func() {
			// gobreaker does not notice a Goexit: the turn would occupy the place of a probe for ever.
			if v := recover(); v != nil {
				c.failed(fmt.Errorf("panic: %v", v))
				panic(v)
			}
			if !returned {
				exited = true
				c.failed(errExited)
				panic(errExited)
			}
		}()
		err = next(ctx, call)
		returned = true
		switch counted = c.cfg.judge(err, ctx.Err() != nil); counted {
		case success:
			return struct{}{}, nil
		case failure:
			c.failed(err)
			return struct{}{}, errFailure
		case neither:
		}
		return struct{}{}, errNeither
	})
	if errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests) {
		return keystrand.Later(c.wait(time.Now()), c.reason)
	}
	if counted != failure || c.gb.State() == gobreaker.StateClosed {
		return err
	}
	if _, panicked := errors.AsType[*keystrand.PanicError](err); panicked {
		return err
	}
	return later(c.wait(time.Now()), c.reason, err)
}

// wait returns how long a message waits that is refused now. Lanes that were parked together come apart: while the breaker is
// open within a quarter of OpenFor after its end, while it is half-open within the next quarter.
func (c *circuit) wait(now time.Time) time.Duration {
	spread := c.cfg.OpenFor / 4
	c.mu.Lock()
	left := c.until.Sub(now)
	c.mu.Unlock()
	if left < 0 {
		return spread/2 + rand.N(spread/2)
	}
	return left + 1 + rand.N(spread)
}

// failed notes the error of a failure, for the log.
func (c *circuit) failed(err error) {
	text := fmt.Sprintf("%.200s", err)
	c.mu.Lock()
	c.last = text
	c.mu.Unlock()
}

// changed notes a change of the state. gobreaker calls it with its mutex held, so it does not log.
func (c *circuit) changed(to gobreaker.State) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := change{to: to}
	switch to {
	case gobreaker.StateOpen:
		ch.err = c.last
		c.until = now.Add(c.cfg.OpenFor)
		if c.since.IsZero() {
			c.since = now
		}
		ch.after = now.Sub(c.since)
	case gobreaker.StateHalfOpen:
		ch.after = now.Sub(c.since)
	case gobreaker.StateClosed:
		ch.after = now.Sub(c.since)
		c.since = time.Time{}
	}
	c.changes = append(c.changes, ch)
	c.untold.Store(true)
}

// tell logs what has changed.
func (c *circuit) tell(ctx context.Context) {
	if !c.untold.Load() {
		return
	}
	c.mu.Lock()
	changes := c.changes
	c.changes = nil
	c.untold.Store(false)
	c.mu.Unlock()
	for _, ch := range changes {
		attrs := make([]slog.Attr, 0, 5)
		attrs = append(attrs, slog.String("breaker", c.cfg.Name))
		if c.label != "" {
			attrs = append(attrs, slog.String("label", fmt.Sprintf("%.64q", c.label)))
		}
		switch ch.to {
		case gobreaker.StateOpen:
			attrs = append(attrs, slog.Duration("open_for", c.cfg.OpenFor), slog.String("error", ch.err))
			c.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "breaker opened", append(attrs, slog.Duration("down", ch.after))...)
		case gobreaker.StateHalfOpen:
			c.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "breaker half-open; probing", append(attrs, slog.Duration("down", ch.after))...)
		case gobreaker.StateClosed:
			c.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "breaker closed", append(attrs, slog.Duration("down", ch.after))...)
		}
	}
}
