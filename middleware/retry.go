package middleware

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand"
)

// RetryPolicy says how often and how far apart a failed message is tried again. The zero value is the default.
//
// The n-th delay is Initial * Multiplier^(n-1), at most MaxDelay, spread by Jitter. It follows from the number of the
// attempt alone, so that a lane can go from one worker to another.
type RetryPolicy struct {
	// Initial is the delay after the first failure. Default: 100ms.
	Initial time.Duration
	// Multiplier is how much longer each delay is than the one before: 1, or 1.1 and more. Default: 2.
	Multiplier float64
	// MaxDelay bounds a delay, jitter left out. Default: 30s, or Initial if that is longer.
	MaxDelay time.Duration
	// Jitter spreads a delay d evenly over d * (1 ± Jitter), so that what failed together does not come back together.
	// At most 1. Default: 0.5.
	Jitter float64
	// DisableJitter makes all delays exact. Default: false.
	DisableJitter bool

	// MaxAttempts is how often the handler is called for a message in all, the first call included. Default: 10.
	MaxAttempts int
	// Forever takes the bound on attempts away: only MaxWaiting, if it is set, ends the retries. Default: false.
	Forever bool
	// MaxWaiting bounds the sum of the delays before the tries of a message, jitter left out: it is given up rather than
	// parked if the next delay would exceed it. It does not bound the time since the first try. The time of the handler
	// itself, and that in the queue, does not count: when a message was first tried is stored nowhere, and with the age
	// of the message in its place a long queue would use up its retries before the first of them. Default: no bound.
	MaxWaiting time.Duration

	// Rand returns a number in [0, 1) for the jitter, from any goroutine. Tests set it. Default: math/rand/v2.
	Rand func() float64
}

// GaveUpError is the failure of a message that [Retry] does not try again: its bounds are reached.
type GaveUpError struct {
	Attempts int   // calls of the handler, this one included
	Err      error // what the last one returned, without its wish for another try
}

// Error tells how many attempts there were and what the last one returned.
func (e *GaveUpError) Error() string {
	return fmt.Sprintf("middleware: gave up after %d attempts: %v", e.Attempts, e.Err)
}

// Unwrap returns what the last attempt returned.
func (e *GaveUpError) Unwrap() error { return e.Err }

// Retry turns a failure into [keystrand.RetryAfter], so that the lane is parked for the delay and no worker sleeps. When
// the bounds of the policy are reached it returns a [*GaveUpError], a plain failure, and the pipeline's failure policy
// acts. [keystrand.Permanent] passes at once, Skip passes. A handler that returns RetryAfter itself gets its own delay,
// but the attempt counts, and so does the delay against MaxWaiting while it is the longer one.
//
// In a batch, a [keystrand.BatchError] names the message that failed, and the policy applies to that message. A batch
// that fails without naming one is retried whole, with the same messages. Its attempt is the largest
// [keystrand.Message.Attempt] among them. When the policy gives it up, the pipeline runs its messages one at a time, and
// each counts its attempts from 1 again; only a message that fails by itself reaches the failure policy.
//
// Once ctx has ended, every error passes: leaving is not failing.
//
// Success costs one comparison and no allocation.
func Retry(policy RetryPolicy) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		p := policy.withDefaults()
		if err := p.validate(); err != nil {
			panic(fmt.Errorf("middleware: Retry: %w", err))
		}
		r := newRetrier(p)
		return func(ctx context.Context, c *keystrand.Call) error {
			var attempt int // looked at before: what is called next may write to the message
			if len(c.Messages) == 1 {
				attempt = int(c.Messages[0].Attempt)
			}
			err := next(ctx, c)
			if err == nil {
				return nil
			}
			return r.decide(ctx, c, attempt, err)
		}
	}
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Initial == 0 {
		p.Initial = 100 * time.Millisecond
	}
	if p.Multiplier == 0 {
		p.Multiplier = 2
	}
	if p.MaxDelay == 0 {
		p.MaxDelay = max(30*time.Second, p.Initial)
	}
	if p.Jitter == 0 && !p.DisableJitter {
		p.Jitter = 0.5
	}
	if p.MaxAttempts == 0 && !p.Forever {
		p.MaxAttempts = 10
	}
	if p.Rand == nil {
		p.Rand = rand.Float64
	}
	return p
}

func (p RetryPolicy) validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(p.Initial < 0, "Initial is negative: %v", p.Initial)
	bad(p.MaxDelay < 0, "MaxDelay is negative: %v", p.MaxDelay)
	bad(p.MaxDelay > 0 && p.MaxDelay < p.Initial, "MaxDelay %v is shorter than Initial %v", p.MaxDelay, p.Initial)
	// The negations catch NaN too.
	bad(p.Multiplier != 1 && !(p.Multiplier >= 1.1), "Multiplier must be 1, or 1.1 and more: %v", p.Multiplier)
	bad(!(p.Jitter >= 0 && p.Jitter <= 1), "Jitter must be from 0 to 1: %v", p.Jitter)
	bad(p.DisableJitter && p.Jitter != 0, "Jitter is %v and DisableJitter is set", p.Jitter)
	bad(p.MaxAttempts < 0, "MaxAttempts is negative: %d", p.MaxAttempts)
	bad(p.Forever && p.MaxAttempts > 0, "MaxAttempts is %d and Forever is set", p.MaxAttempts)
	bad(p.MaxWaiting < 0, "MaxWaiting is negative: %v", p.MaxWaiting)
	return errors.Join(errs...)
}

// retrier is a policy made ready: it has no state that changes, so any number of workers share it.
type retrier struct {
	policy RetryPolicy
	delays []time.Duration // after attempt 1, 2, …; the last one is that of all later attempts
	waited []time.Duration // waited[i] is the sum of delays[:i]
}

// newRetrier lets the library compute the delays once. Asking one of its BackOffs at each failure would need one for
// every message that waits: it counts its calls.
func newRetrier(p RetryPolicy) *retrier {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.Initial),
		backoff.WithMultiplier(p.Multiplier),
		backoff.WithMaxInterval(p.MaxDelay),
		backoff.WithRandomizationFactor(0),
		backoff.WithMaxElapsedTime(0))
	r := &retrier{policy: p, waited: []time.Duration{0}}
	for {
		d, n := b.NextBackOff(), len(r.delays)
		r.delays = append(r.delays, d)
		if d >= p.MaxDelay || n > 0 && d <= r.delays[n-1] || p.Multiplier == 1 {
			return r
		}
		r.waited = append(r.waited, addDelay(r.waited[n], d))
	}
}

// decide returns what becomes of a turn that returned err. attempt is that of its message if it has only one, else 0.
func (r *retrier) decide(ctx context.Context, c *keystrand.Call, attempt int, err error) error {
	outcome, own := keystrand.OutcomeOf(err)
	if ctx.Err() != nil || outcome != keystrand.OutcomeFailed && outcome != keystrand.OutcomeRetry {
		return err
	}
	m, batch := culprit(c, err)
	switch {
	case attempt > 0:
	case m != nil:
		attempt = int(max(m.Attempt, 1))
	default:
		attempt = attemptOf(c.Messages)
	}
	delay := r.delay(attempt)
	if outcome == keystrand.OutcomeRetry {
		delay = own
	}
	if r.exhausted(attempt, delay) {
		return giveUp(err, batch, attempt)
	}
	if outcome == keystrand.OutcomeRetry {
		return err // it asks for its delay itself
	}
	return keystrand.RetryAfter(r.jitter(delay), err)
}

// exhausted tells whether the attempt was the last one, given the delay that would follow it.
func (r *retrier) exhausted(attempt int, delay time.Duration) bool {
	p := &r.policy
	if !p.Forever && attempt >= p.MaxAttempts {
		return true
	}
	return p.MaxWaiting > 0 && addDelay(r.waitedBefore(attempt), delay) > p.MaxWaiting
}

// delay returns the delay after an attempt, without jitter.
func (r *retrier) delay(attempt int) time.Duration {
	return r.delays[min(attempt, len(r.delays))-1]
}

// waitedBefore returns the sum of the delays before an attempt, without jitter.
func (r *retrier) waitedBefore(attempt int) time.Duration {
	last := len(r.delays) - 1 // of this index are all delays from attempt last+1 on
	if attempt-1 <= last {
		return r.waited[attempt-1]
	}
	d, n := r.delays[last], time.Duration(attempt-1-last)
	if n > (maxDuration-r.waited[last])/max(d, 1) {
		return maxDuration
	}
	return r.waited[last] + n*d
}

// jitter spreads d as the library does, but with a source of numbers that a test can choose.
func (r *retrier) jitter(d time.Duration) time.Duration {
	if r.policy.Jitter == 0 {
		return d
	}
	f := float64(d) * (1 + r.policy.Jitter*(2*r.policy.Rand()-1))
	if f >= float64(maxDuration) {
		return maxDuration
	}
	return time.Duration(f)
}

// attemptOf returns the attempt of a batch: the largest among its messages, at least 1.
func attemptOf(ms []*keystrand.Message) int {
	attempt := int32(1)
	for _, m := range ms {
		attempt = max(attempt, m.Attempt)
	}
	return int(attempt)
}

// culprit returns the message of the turn that failed, and the BatchError that names it if there is one. It is nil if
// the turn had several messages and none was named.
func culprit(c *keystrand.Call, err error) (*keystrand.Message, *keystrand.BatchError) {
	if b, ok := errors.AsType[*keystrand.BatchError](err); ok && b.Settled >= 0 && b.Settled < len(c.Messages) {
		return c.Messages[b.Settled], b
	}
	if len(c.Messages) != 1 {
		return nil, nil
	}
	return c.Messages[0], nil
}

// giveUp makes err a plain failure. What the batch had settled stays settled.
func giveUp(err error, batch *keystrand.BatchError, attempt int) error {
	if batch != nil {
		return &keystrand.BatchError{Settled: batch.Settled, Err: &GaveUpError{attempt, withoutRetry(batch.Err)}}
	}
	return &GaveUpError{attempt, withoutRetry(err)}
}

// withoutRetry returns the first error in the chain that does not ask for another try. Where that cannot be reached,
// because errors are joined or there is no cause, the text alone is kept.
func withoutRetry(err error) error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if o, _ := keystrand.OutcomeOf(e); o != keystrand.OutcomeRetry {
			return e
		}
	}
	return errors.New(err.Error())
}

const maxDuration = time.Duration(1<<63 - 1)

func addDelay(a, b time.Duration) time.Duration {
	if a > maxDuration-b {
		return maxDuration
	}
	return a + b
}
