// Virtual time: the bubbles are in each test.

package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/middleware/breaker"
	"github.com/keystrand/keystrand/middleware/ratelimit"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

const (
	downtime = 10 * time.Minute
	waiting  = 1_000 // messages, of which the first are handled before the outage
)

// The orders in which the middleware is documented to work.
func orders() map[string][]keystrand.Middleware {
	var (
		log     = middleware.Log(slog.New(slog.DiscardHandler), middleware.LogConfig{})
		retry   = middleware.Retry(middleware.RetryPolicy{MaxAttempts: 5})
		circuit = breaker.New(breaker.Config{Name: "payments"})
		limit   = ratelimit.New(rate.NewLimiter(1_000, 100))
		timeout = middleware.Timeout(time.Second)
	)
	return map[string][]keystrand.Middleware{
		"log, retry, breaker, ratelimit, timeout": {log, retry, circuit, limit, timeout},
		"breaker, retry, timeout":                 {circuit, retry, timeout},
		"ratelimit, retry, breaker, timeout":      {limit, retry, circuit, timeout},
	}
}

// An outage is not the fault of a message: it uses up no retries and sends nothing to the dead letters.
func TestBreakerSendsNothingToTheDeadLettersInAnOutage(t *testing.T) {
	for order, ms := range orders() {
		for name, x := range map[string]struct {
			keys int
			fail func(ctx context.Context) error
		}{
			"one key":                  {1, refused},
			"few keys":                 {20, refused},
			"many keys":                {750, refused},
			"few keys, calls time out": {20, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		} {
			t.Run(order+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { throughOutage(t, x.keys, x.fail, ms) })
			})
		}
	}
}

func refused(context.Context) error { return errBoom }

func throughOutage(t *testing.T, keys int, fail func(context.Context) error, ms []keystrand.Middleware) {
	t.Helper()
	log, l := memory.NewLog("orders", 1), newLedger(t)
	for i, m := range keysOf(waiting, keys) {
		log.Append(0, m)
		l.put(0, int64(i), string(m.Key))
	}
	began, dlq := time.Now(), sinkmemory.New()
	run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).Use(ms...).
		Handle(l.handler(func(ctx context.Context, _ *keystrand.Message) error {
			if at := time.Since(began); at >= time.Second && at < time.Second+downtime {
				return fail(ctx)
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		})).OnFailure(pipeline.DeadLetter(dlq)).Limits(pipeline.Limits{InFlight: 500, Workers: 10}))
	time.Sleep(downtime / 2)
	before := run.Snapshot()
	if before.InFlight > 500+256 {
		t.Errorf("%d messages are in flight during the outage, want at most the budget and a batch", before.InFlight)
	}
	time.Sleep(downtime / 4)
	during := run.Snapshot()
	if during.Settled != before.Settled {
		t.Errorf("%d messages were settled during the outage", during.Settled-before.Settled)
	}
	time.Sleep(time.Hour)
	s := run.Snapshot()
	if s.Settled != waiting || s.Failed != 0 || len(dlq.Messages()) != 0 {
		t.Errorf("settled %d, failed %d, %d dead letters: want %d, 0 and 0", s.Settled, s.Failed, len(dlq.Messages()), waiting)
	}
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
}

// A message that fails for its own reasons is given up as without a breaker while others succeed.
func TestBreakerLeavesAFailingMessageToItsPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dlq := memory.NewLog("orders", 1), sinkmemory.New()
		log.Append(0, keysOf(2_000, 100)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Use(orders()["log, retry, breaker, ratelimit, timeout"]...).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 7 || m.Offset == 8 {
					return errors.New("no such account")
				}
				time.Sleep(200 * time.Millisecond)
				return nil
			}).OnFailure(pipeline.DeadLetter(dlq)))
		time.Sleep(time.Hour)
		if s := run.Snapshot(); s.Settled != 2_000 || s.Failed != 2 || s.Retried != 8 || len(dlq.Messages()) != 2 {
			t.Errorf("settled %d, failed %d, retried %d, %d dead letters: want 2000, 2, 8 and 2", s.Settled, s.Failed, s.Retried, len(dlq.Messages()))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Cancelled handlers of a partition that leaves are no failures of the service.
func TestBreakerDoesNotCountHandlersThatAreCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("orders", 1)
		log.Append(0, keysOf(100, 100)...)
		var chain keystrand.Next
		probe := func(next keystrand.Next) keystrand.Next { chain = next; return next }
		leaving := true
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Use(probe, breaker.New(breaker.Config{Failures: 1})).
			HandleFunc(func(ctx context.Context, _ *keystrand.Message) error {
				if leaving {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		leaving = false
		if err := chain(t.Context(), keystrand.NewCall(&keystrand.Message{})); err != nil {
			t.Errorf("after 100 cancelled handlers: %v, want a closed breaker", err)
		}
	})
}
