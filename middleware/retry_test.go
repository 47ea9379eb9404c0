package middleware

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand"
)

var errFlaky = errors.New("flaky")

func TestRetryDelayDependsOnlyOnTheAttempt(t *testing.T) {
	m := Retry(RetryPolicy{Initial: 100 * time.Millisecond, MaxDelay: time.Second, DisableJitter: true, MaxAttempts: 8})
	want := []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} // ms after attempt 1, 2, …
	for _, attempt := range []int{3, 1, 7, 2, 5, 4, 6, 1} {       // in any order, as lanes move between workers
		err := turn(t.Context(), returning(errFlaky), m, &keystrand.Message{Attempt: int32(attempt)})
		o, d := keystrand.OutcomeOf(err)
		if o != keystrand.OutcomeRetry || d != want[attempt-1]*time.Millisecond || !errors.Is(err, errFlaky) {
			t.Errorf("attempt %d: %v after %v, want %v: %v", attempt, o, d, want[attempt-1]*time.Millisecond, err)
		}
	}
	err := turn(t.Context(), returning(errFlaky), m, &keystrand.Message{Attempt: 8})
	g, ok := errors.AsType[*GaveUpError](err)
	if o, _ := keystrand.OutcomeOf(err); !ok || g.Attempts != 8 || o != keystrand.OutcomeFailed || !errors.Is(err, errFlaky) {
		t.Errorf("attempt 8 of 8: %v", err)
	}
}

func TestRetryDelaysEqualThoseOfTheLibrary(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		p := RetryPolicy{
			Initial:       time.Duration(1 + r.Int64N(int64(time.Second))),
			Multiplier:    1 + float64(1+r.IntN(40))/10,
			DisableJitter: true, Forever: true,
		}
		p.MaxDelay = p.Initial * time.Duration(1+r.IntN(10_000))
		b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(p.Initial), backoff.WithMultiplier(p.Multiplier),
			backoff.WithMaxInterval(p.MaxDelay), backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
		policy := p.withDefaults()
		ready := newRetrier(policy)
		sum := time.Duration(0)
		for attempt := 1; attempt < 200; attempt++ {
			want := b.NextBackOff()
			if got := ready.delay(attempt); got != want {
				t.Fatalf("%+v: delay(%d) = %v, library returns %v", p, attempt, got, want)
			}
			if got := ready.waitedBefore(attempt); got != sum {
				t.Fatalf("%+v: waitedBefore(%d) = %v, want %v", p, attempt, got, sum)
			}
			sum += want
		}
	}
}

func TestRetryJitterSpreadsAroundTheDelay(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 800 * time.Millisecond, 0.5: time.Second, 0.75: 1100 * time.Millisecond} {
		m := Retry(RetryPolicy{Initial: time.Second, Jitter: 0.2, Rand: func() float64 { return random }})
		_, d := keystrand.OutcomeOf(turn(t.Context(), returning(errFlaky), m, &keystrand.Message{Attempt: 1}))
		if d.Round(time.Microsecond) != want {
			t.Errorf("random %v: delay %v, want %v", random, d, want)
		}
	}
	if d := newRetrier(RetryPolicy{Initial: maxDuration, MaxDelay: maxDuration, Multiplier: 1, Jitter: 1, Rand: func() float64 { return 1 }}).jitter(maxDuration); d != maxDuration {
		t.Errorf("jitter(maxDuration) = %v, want maxDuration", d)
	}
}

func TestRetryStopsAtTheBoundsOfThePolicy(t *testing.T) {
	own := func(d time.Duration) error { return fmt.Errorf("busy: %w", keystrand.RetryAfter(d, errFlaky)) }
	second := RetryPolicy{Initial: time.Second, Multiplier: 1, DisableJitter: true}
	with := func(change func(*RetryPolicy)) RetryPolicy {
		p := second
		change(&p)
		return p
	}
	waiting := with(func(p *RetryPolicy) { p.MaxWaiting, p.Forever = 5*time.Second, true })
	for name, x := range map[string]struct {
		policy  RetryPolicy
		attempt int
		err     error
		outcome keystrand.Outcome
		delay   time.Duration
	}{
		"the default is ten attempts, here the 9th":  {RetryPolicy{DisableJitter: true}, 9, errFlaky, keystrand.OutcomeRetry, 25600 * time.Millisecond},
		"the default is ten attempts, here the 10th": {RetryPolicy{}, 10, errFlaky, keystrand.OutcomeFailed, 0},
		"for ever":                            {with(func(p *RetryPolicy) { p.Forever = true }), 1 << 40, errFlaky, keystrand.OutcomeRetry, time.Second},
		"one attempt":                         {with(func(p *RetryPolicy) { p.MaxAttempts = 1 }), 1, errFlaky, keystrand.OutcomeFailed, 0},
		"permanent ends at once":              {second, 1, keystrand.Permanent(errFlaky), keystrand.OutcomePermanent, 0},
		"skip passes":                         {second, 99, keystrand.Skip("old"), keystrand.OutcomeSkipped, 0},
		"later passes":                        {second, 99, keystrand.Later(time.Hour, "limit"), keystrand.OutcomePostponed, time.Hour},
		"waited 4 s, and 1 s more is allowed": {waiting, 5, errFlaky, keystrand.OutcomeRetry, time.Second},
		"waited 5 s, and 1 s more is not":     {waiting, 6, errFlaky, keystrand.OutcomeFailed, 0},
		"own delay":                           {second, 1, own(time.Minute), keystrand.OutcomeRetry, time.Minute},
		"own delay, but the attempt counts":   {with(func(p *RetryPolicy) { p.MaxAttempts = 3 }), 3, own(time.Minute), keystrand.OutcomeFailed, 0},
		"own delay, more than is allowed":     {waiting, 1, own(6 * time.Second), keystrand.OutcomeFailed, 0},
		"own delay of zero counts as one":     {waiting, 7, own(0), keystrand.OutcomeFailed, 0},
		"unset attempt is the first":          {second, 0, errFlaky, keystrand.OutcomeRetry, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for shape, end := range shapes(func(context.Context) error { return x.err }) {
				err := turn(t.Context(), end, Retry(x.policy), &keystrand.Message{Attempt: int32(x.attempt)})
				if o, d := keystrand.OutcomeOf(err); o != x.outcome || d != x.delay {
					t.Errorf("%s: %v after %v, want %v after %v: %v", shape, o, d, x.outcome, x.delay, err)
				}
				if x.outcome == keystrand.OutcomeFailed && !errors.Is(err, errFlaky) {
					t.Errorf("%s: %v does not wrap the handler's error", shape, err)
				}
			}
		})
	}
}

func TestGaveUpErrorIsNotARetryAfter(t *testing.T) {
	once := Retry(RetryPolicy{MaxAttempts: 1})
	for name, err := range map[string]error{
		"no cause":       keystrand.RetryAfter(time.Second, nil),
		"joined":         errors.Join(errFlaky, keystrand.RetryAfter(time.Second, nil)),
		"wrapped thrice": fmt.Errorf("a: %w", keystrand.RetryAfter(1, fmt.Errorf("b: %w", keystrand.RetryAfter(1, errFlaky)))),
	} {
		got := turn(t.Context(), returning(err), once, &keystrand.Message{Attempt: 1})
		if o, _ := keystrand.OutcomeOf(got); o != keystrand.OutcomeFailed {
			t.Errorf("%s: %v: %v", name, o, got)
		}
	}
}

func TestRetryAppliesThePolicyToTheCulpritOfABatch(t *testing.T) {
	ms := []*keystrand.Message{{Attempt: 1}, {Attempt: 3}, {Attempt: 1}}
	m := Retry(RetryPolicy{MaxAttempts: 3, DisableJitter: true})

	err := turn(t.Context(), returning(&keystrand.BatchError{Settled: 2, Err: errFlaky}), m, ms...)
	b, ok := errors.AsType[*keystrand.BatchError](err)
	if o, d := keystrand.OutcomeOf(err); !ok || b.Settled != 2 || o != keystrand.OutcomeRetry || d != 100*time.Millisecond {
		t.Errorf("the third message, at its first attempt: %v after %v: %v", o, d, err)
	}
	err = turn(t.Context(), returning(&keystrand.BatchError{Settled: 1, Err: keystrand.RetryAfter(1, errFlaky)}), m, ms...)
	b, ok = errors.AsType[*keystrand.BatchError](err)
	if o, _ := keystrand.OutcomeOf(err); !ok || b.Settled != 1 || o != keystrand.OutcomeFailed || !errors.Is(err, errFlaky) {
		t.Errorf("the second message, at its last attempt: %v: %v", o, err)
	}
}

func TestRetryRetriesABatchThatNamesNoMessageByItsLargestAttempt(t *testing.T) {
	m := Retry(RetryPolicy{MaxAttempts: 4, DisableJitter: true})
	for name, err := range map[string]error{
		"plain":          errFlaky,
		"own delay":      keystrand.RetryAfter(400*time.Millisecond, errFlaky),
		"settled all":    &keystrand.BatchError{Settled: 3, Err: errFlaky},
		"settled few":    &keystrand.BatchError{Settled: -1, Err: errFlaky},
		"handler panics": &keystrand.PanicError{Value: errFlaky},
	} {
		got := turn(t.Context(), returning(err), m, []*keystrand.Message{{Attempt: 1}, {Attempt: 3}, {Attempt: 2}}...)
		if o, d := keystrand.OutcomeOf(got); o != keystrand.OutcomeRetry || d != 400*time.Millisecond || !errors.Is(got, errFlaky) {
			t.Errorf("%s, attempt 3 of 4: %v after %v: %v", name, o, d, got)
		}
		got = turn(t.Context(), returning(err), m, []*keystrand.Message{{Attempt: 1}, {Attempt: 4}}...)
		g, ok := errors.AsType[*GaveUpError](got)
		if o, _ := keystrand.OutcomeOf(got); !ok || g.Attempts != 4 || o != keystrand.OutcomeFailed || !errors.Is(got, errFlaky) {
			t.Errorf("%s, attempt 4 of 4: %v: %v", name, o, got)
		}
	}
	if got := turn(t.Context(), returning(errFlaky), m, []*keystrand.Message{{}, {}}...); !errors.Is(got, errFlaky) {
		t.Errorf("a batch without attempts: %v", got)
	} else if _, d := keystrand.OutcomeOf(got); d != 100*time.Millisecond {
		t.Errorf("a batch without attempts: retried after %v, want the first delay", d)
	}
	if got := turn(t.Context(), returning(keystrand.Permanent(errFlaky)), m, []*keystrand.Message{{}, {}}...); !errors.Is(got, errFlaky) {
		t.Errorf("permanent: %v", got)
	} else if o, _ := keystrand.OutcomeOf(got); o != keystrand.OutcomePermanent {
		t.Errorf("permanent: outcome %v, want permanent", o)
	}
}

// I11: an error after the ctx was canceled is not a failure.
func TestRetryReturnsTheErrorUnchangedAfterItsContextIsCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(keystrand.ErrLeaving)
	for _, attempt := range []int{1, 10} {
		if got := turn(ctx, returning(errFlaky), Retry(RetryPolicy{}), &keystrand.Message{Attempt: int32(attempt)}); got != errFlaky { //nolint:errorlint // the very error
			t.Errorf("attempt %d: %v, want the unchanged error of the handler", attempt, got)
		}
	}
}

func TestRetryPanicsWithAllConfigurationErrors(t *testing.T) {
	nan := 0.0
	nan /= nan
	err := mustPanic(t, Retry(RetryPolicy{Initial: -1, Multiplier: nan, MaxDelay: -1, Jitter: 2, MaxAttempts: -1, MaxWaiting: -1}))
	for _, want := range []string{"Initial", "Multiplier", "MaxDelay", "Jitter", "MaxAttempts", "MaxWaiting"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	err = mustPanic(t, Retry(RetryPolicy{Initial: 2, MaxDelay: 1, Multiplier: 0.5, Jitter: 0.5, DisableJitter: true, MaxAttempts: 1, Forever: true}))
	for _, want := range []string{"shorter", "Multiplier", "DisableJitter", "Forever"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}
