package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand"
)

// RetryPolicy configures the number of attempts and the delays between them. The zero value is the default.
//
// The n-th delay is Initial * Multiplier^(n-1), at most MaxDelay, spread by Jitter. It depends only on the number of the
// attempt, so any worker can compute it.
type RetryPolicy struct {
	// Initial is the delay after the first failure. Default: 100ms.
	Initial time.Duration
	// Multiplier is the ratio of each delay to the previous one. It is 1, or 1.1 or more. Default: 2.
	Multiplier float64
	// MaxDelay bounds a delay, without jitter. Default: 30s, or Initial if that is longer.
	MaxDelay time.Duration
	// Jitter spreads a delay d evenly over d * (1 ± Jitter), so that messages that failed together are not retried together.
	// At most 1. Default: 0.5.
	Jitter float64
	// DisableJitter disables the jitter. Default: false.
	DisableJitter bool

	// MaxAttempts is the maximum number of calls of the handler for a message, including the first. Default: 10.
	MaxAttempts int
	// Forever removes the bound on attempts. Only MaxWaiting, if it is set, ends the retries. Default: false.
	Forever bool
	// MaxWaiting bounds the sum of the delays of a message, without jitter. Retry gives up if the next delay would exceed it.
	//
	// The time in the handler and in the backlog does not count. The time of the first attempt is not stored, and the age of
	// the message would include its time in the backlog, which can use up all retries. Default: no bound.
	MaxWaiting time.Duration

	// Rand returns a number in [0, 1) for the jitter. It is called from any goroutine. Tests set it. Default: math/rand/v2.
	Rand func() float64
}

// GaveUpError is the failure of a message that has reached the bounds of its [RetryPolicy].
type GaveUpError struct {
	Attempts int   // number of calls of the handler, including the last
	Err      error // error of the last attempt, without its RetryAfter
}

// Error returns the number of attempts and the error of the last one.
func (e *GaveUpError) Error() string {
	return fmt.Sprintf("middleware: gave up after %d attempts: %v", e.Attempts, e.Err)
}

// Unwrap returns e.Err.
func (e *GaveUpError) Unwrap() error { return e.Err }

// Retry converts a failure to [keystrand.RetryAfter]. The lane is parked for the delay; no worker sleeps. When a bound of the
// policy is reached, Retry returns a [*GaveUpError], which is a failure, and the failure policy of the pipeline applies.
//
// Retry returns other errors unchanged: [keystrand.Permanent], [keystrand.Skip], [keystrand.Later], and every error after ctx
// was canceled.
//
// A handler that returns RetryAfter chooses the next delay itself. Its attempts still count. MaxWaiting then bounds the
// sum of the policy's delays for the earlier attempts and the chosen one.
//
// If a [keystrand.BatchError] names a message of a batch, the policy applies to that message. A batch that fails without
// naming one is retried whole, with the same messages. Its attempt is the largest [keystrand.Message.Attempt] among them.
// When the policy gives up such a batch, the pipeline runs its messages one at a time, each from attempt 1 again. Only a
// message that fails alone reaches the failure policy.
//
// A successful turn costs one comparison and no allocation.
func Retry(policy RetryPolicy) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		p := policy.withDefaults()
		if err := p.validate(); err != nil {
			panic(fmt.Errorf("middleware: Retry: %w", err))
		}
		r := newRetrier(p)
		return func(ctx context.Context, c *keystrand.Call) error {
			var attempt int // read before the call, because next may change the message
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
	p.Initial = cmp.Or(p.Initial, 100*time.Millisecond)
	p.Multiplier = cmp.Or(p.Multiplier, 2)
	p.MaxDelay = cmp.Or(p.MaxDelay, max(30*time.Second, p.Initial))
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
	// The negations also reject NaN.
	bad(p.Multiplier != 1 && !(p.Multiplier >= 1.1), "Multiplier must be 1, or 1.1 or more: %v", p.Multiplier)
	bad(!(p.Jitter >= 0 && p.Jitter <= 1), "Jitter must be from 0 to 1: %v", p.Jitter)
	bad(p.DisableJitter && p.Jitter != 0, "Jitter is %v and DisableJitter is set", p.Jitter)
	bad(p.MaxAttempts < 0, "MaxAttempts is negative: %d", p.MaxAttempts)
	bad(p.Forever && p.MaxAttempts > 0, "MaxAttempts is %d and Forever is set", p.MaxAttempts)
	bad(p.MaxWaiting < 0, "MaxWaiting is negative: %v", p.MaxWaiting)
	return errors.Join(errs...)
}

// retrier is a policy with its precomputed delays. It is immutable, so all workers share it.
type retrier struct {
	policy RetryPolicy
	delays []time.Duration // after attempt 1, 2, …; the last one applies to all later attempts
	waited []time.Duration // waited[i] is the sum of delays[:i]
}

// newRetrier computes the delays once, with the library. A BackOff of the library counts its calls, so calling it at each
// failure would need one for every waiting message.
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

// decide returns the error of Retry for a turn that returned err. attempt is the attempt of a single message, 0 for a batch.
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
		return err // err has its own delay
	}
	return keystrand.RetryAfter(r.jitter(delay), err)
}

// exhausted reports whether attempt was the last one, given the delay that would follow it.
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
	last := len(r.delays) - 1 // delays[last] applies from attempt last+1 on
	if attempt-1 <= last {
		return r.waited[attempt-1]
	}
	d, n := r.delays[last], time.Duration(attempt-1-last)
	if n > (maxDuration-r.waited[last])/max(d, 1) {
		return maxDuration
	}
	return r.waited[last] + n*d
}

// jitter spreads d as the library does. It uses policy.Rand, which a test can set.
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

// attemptOf returns the attempt of a batch: the largest attempt among its messages, at least 1.
func attemptOf(ms []*keystrand.Message) int {
	attempt := int32(1)
	for _, m := range ms {
		attempt = max(attempt, m.Attempt)
	}
	return int(attempt)
}

// culprit returns the failed message of the turn, and the BatchError that names it, if any. The message is nil if the turn
// has several messages and err names none.
func culprit(c *keystrand.Call, err error) (*keystrand.Message, *keystrand.BatchError) {
	if b, ok := errors.AsType[*keystrand.BatchError](err); ok && b.Settled >= 0 && b.Settled < len(c.Messages) {
		return c.Messages[b.Settled], b
	}
	if len(c.Messages) != 1 {
		return nil, nil
	}
	return c.Messages[0], nil
}

// giveUp converts err to a GaveUpError. It keeps the messages settled by the batch.
func giveUp(err error, batch *keystrand.BatchError, attempt int) error {
	if batch != nil {
		return &keystrand.BatchError{Settled: batch.Settled, Err: &GaveUpError{attempt, withoutRetry(batch.Err)}}
	}
	return &GaveUpError{attempt, withoutRetry(err)}
}

// withoutRetry returns the first error in the chain that is not a RetryAfter. If there is none, because the errors are joined
// or the RetryAfter has no cause, it returns an error with the text of err.
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
