// Package breaker stops calls of a handler while what it calls is down. After some failures in a row the breaker opens: until it
// closes again, messages are postponed with [keystrand.Later], their lanes are parked without a worker, and no attempt is
// counted. An outage of any length uses up no retries and sends nothing to the dead letters, if it lasts without a break.
//
// Fetching pauses when the budget of the pipeline is full. With Divert, postponed keys that are deep go to the store, as hot ones
// do, and fetching goes on until Limits.DivertBytes is used up.
//
// The breaker is the one of github.com/sony/gobreaker/v2. [New] has one for all messages, [By] has one for each label that a
// function derives from a message, such as a host.
//
//   - Closed: every turn runs. [Config].Failures failures in a row open the breaker.
//   - Open: for [Config].OpenFor every message is postponed until its end, and some time more, at random.
//   - Half-open: [Config].Probes turns run, and other messages are postponed. If all succeed the breaker closes. If one fails it
//     opens again.
//
// # What counts
//
// By the outcome of a turn:
//
//   - Handled is a success.
//   - Failed and Retry are failures, panics too, unless [Config].IsFailure says otherwise.
//   - Skipped, Permanent and Postponed count as neither: they say nothing about the service. So does an error after the ctx of
//     the turn has ended.
//
// A failure that opens the breaker, or that ends while it is not closed, is blamed on the service: it is returned as
// [keystrand.Later] with its text, and costs the message no attempt. Panics pass unchanged, and count their attempt.
//
// So a message that fails for a reason of its own can keep a breaker open if no other message succeeds. Mark such failures as
// [keystrand.Permanent].
//
// # Order of middleware
//
// The usual order is Log, Retry, breaker, ratelimit, Timeout:
//
//	Use(middleware.Log(…), middleware.Retry(…), breaker.New(…), ratelimit.New(…), middleware.Timeout(…))
//
// The reasons:
//
//   - Timeout must be inside: a handler that times out outside the breaker looks like one that was stopped, which does not count.
//     Without Timeout a probe that hangs keeps the breaker half-open for as long.
//   - ratelimit should be inside: a message that the breaker refuses then takes no token.
//   - Retry works on both sides. Its MaxAttempts must not be less than Failures: a message that fails alone would be given up
//     before the breaker opens.
//
// A breaker is of this process. A service that fails now and then does not open it, and uses up retries as without one.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/internal/labels"
)

// New returns middleware with one breaker for all messages of a pipeline. It panics with all mistakes in cfg when the pipeline is
// built.
//
// A turn that runs and succeeds costs no allocation.
func New(cfg Config) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		set := cfg.withDefaults()
		if err := cfg.validate(); err != nil {
			panic(err)
		}
		c := newCircuit(&set, "")
		return func(ctx context.Context, call *keystrand.Call) error { return c.run(ctx, next, call) }
	}
}

// By returns middleware with a breaker for each label. label returns the label of a message; for a batch it gets the first
// message. It is called from many goroutines and must not block.
//
// A breaker that was not used for 10 minutes, or twice OpenFor or Window if that is longer, is dropped as new labels come.
func By(label func(*keystrand.Message) string, cfg Config) keystrand.Middleware {
	return func(next keystrand.Next) keystrand.Next {
		set := cfg.withDefaults()
		err := cfg.validate()
		if label == nil {
			err = errors.Join(errors.New("breaker: By: the function label is nil"), err)
		}
		if err != nil {
			panic(err)
		}
		forgotten := max(10*time.Minute, 2*set.OpenFor, 2*set.Window)
		circuits := labels.New(func(label string) *circuit { return newCircuit(&set, label) },
			func(_ *circuit, unused time.Duration) bool { return unused > forgotten })
		return func(ctx context.Context, call *keystrand.Call) error {
			if len(call.Messages) == 0 {
				return next(ctx, call)
			}
			return circuits.Get(label(call.Messages[0]), time.Now()).run(ctx, next, call)
		}
	}
}

// later returns the error that postpones a turn that failed with err. It keeps the messages that a batch has settled.
func later(wait time.Duration, reason string, err error) error {
	postponed := keystrand.Later(wait, fmt.Sprintf("%s: %.200s", reason, err))
	if b, ok := errors.AsType[*keystrand.BatchError](err); ok {
		return &keystrand.BatchError{Settled: b.Settled, Err: postponed}
	}
	return postponed
}
