package breaker

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

var errDown = errors.New("connection refused")

// service is the end of a chain. It returns err.
type service struct {
	mu    sync.Mutex
	calls int
	err   error
}

func (s *service) next(context.Context, *keystrand.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.err
}

func (s *service) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls
	s.calls = 0
	return n
}

func turn(ctx context.Context, chain keystrand.Next, label string) (keystrand.Outcome, time.Duration) {
	return keystrand.OutcomeOf(chain(ctx, keystrand.NewCall(&keystrand.Message{Stream: "orders", Key: []byte(label), Attempt: 1})))
}

func byKey(m *keystrand.Message) string { return string(m.Key) }

// open makes a chain's breaker open by five failures.
func open(t *testing.T, chain keystrand.Next, s *service) {
	t.Helper()
	s.err = errDown
	for i := range 5 {
		want := keystrand.OutcomeFailed
		if i == 4 {
			want = keystrand.OutcomePostponed // it has opened the breaker
		}
		if o, _ := turn(t.Context(), chain, ""); o != want {
			t.Fatalf("failure %d: outcome %v, want %v", i+1, o, want)
		}
	}
	s.called()
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		chain := New(Config{})(s.next)
		open(t, chain, s)
		for range 100 {
			if o, wait := turn(t.Context(), chain, ""); o != keystrand.OutcomePostponed || wait <= 30*time.Second || wait > 37500*time.Millisecond {
				t.Fatalf("open: %v for %v, want postponed until up to 7.5 s after the end of 30 s", o, wait)
			}
		}
		time.Sleep(30 * time.Second)
		if n := s.called(); n != 0 {
			t.Errorf("the handler was called %d times while the breaker was open", n)
		}
		time.Sleep(time.Nanosecond)
		if o, wait := turn(t.Context(), chain, ""); o != keystrand.OutcomePostponed || wait <= 30*time.Second || s.called() != 1 {
			t.Errorf("the first probe failed: %v for %v, want it called and postponed for more than 30s", o, wait)
		}
		s.err = nil
		time.Sleep(30*time.Second + 1)
		for range 3 {
			if o, _ := turn(t.Context(), chain, ""); o != keystrand.OutcomeHandled {
				t.Errorf("a probe that succeeds: %v", o)
			}
		}
		s.err = errDown
		if o, _ := turn(t.Context(), chain, ""); o != keystrand.OutcomeFailed {
			t.Errorf("a failure after the breaker has closed: %v, want failed", o)
		}
	})
}

// Lanes that were parked together come apart, so that a service that recovers does not meet them all.
func TestPostponedMessagesComeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		chain := New(Config{})(s.next)
		open(t, chain, s)
		seconds := map[time.Duration]int{}
		for range 7_000 {
			_, wait := turn(t.Context(), chain, "")
			seconds[wait.Truncate(time.Second)]++
		}
		for at, n := range seconds {
			if n > 1_300 {
				t.Errorf("%d of 7000 messages come between %v and %v", n, at, at+time.Second)
			}
		}
	})
}

func TestHalfOpenLetsAFewThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		var running, most int
		slow := func(ctx context.Context, c *keystrand.Call) error {
			s.mu.Lock()
			running++
			most = max(most, running)
			s.mu.Unlock()
			time.Sleep(time.Second)
			s.mu.Lock()
			running--
			s.mu.Unlock()
			return s.next(ctx, c)
		}
		chain := New(Config{Probes: 2})(slow)
		open(t, chain, s)
		s.err, most = nil, 0
		time.Sleep(31 * time.Second)
		var lanes sync.WaitGroup
		for range 100 {
			lanes.Go(func() {
				o, wait := turn(t.Context(), chain, "")
				if o == keystrand.OutcomePostponed && (wait < 3750*time.Millisecond || wait > 7500*time.Millisecond) {
					t.Errorf("half-open: postponed for %v, want 3.75s to 7.5s", wait)
				}
			})
		}
		lanes.Wait()
		if n := s.called(); n != 2 || most != 2 {
			t.Errorf("%d turns ran, want 2 probes", n)
		}
	})
}

func TestOutcomesCountAsDocumented(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	batch := func(err error) error { return &keystrand.BatchError{Settled: 0, Err: err} }
	for name, x := range map[string]struct {
		ctx   context.Context
		err   error
		opens bool
	}{
		"handled":          {t.Context(), nil, false},
		"failed":           {t.Context(), errDown, true},
		"retry":            {t.Context(), keystrand.RetryAfter(time.Second, errDown), true},
		"panicked":         {t.Context(), &keystrand.PanicError{Value: "boom"}, true},
		"batch failed":     {t.Context(), batch(errDown), true},
		"timed out":        {t.Context(), context.DeadlineExceeded, true},
		"skipped":          {t.Context(), keystrand.Skip("old"), false},
		"permanent":        {t.Context(), keystrand.Permanent(errDown), false},
		"postponed":        {t.Context(), keystrand.Later(time.Second, "limit"), false},
		"batch postponed":  {t.Context(), batch(keystrand.Later(time.Second, "limit")), false},
		"ctx ended":        {ended, errDown, false},
		"not of a service": {t.Context(), errors.ErrUnsupported, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{err: x.err}
				chain := New(Config{IsFailure: func(err error) bool { return !errors.Is(err, errors.ErrUnsupported) }})(s.next)
				for i := range 5 {
					err := chain(x.ctx, keystrand.NewCall(&keystrand.Message{}))
					if !(x.opens && i == 4) && err != x.err { //nolint:errorlint // the very error
						t.Errorf("turn %d returned %v, want the unchanged %v", i+1, err, x.err)
					}
				}
				s.called()
				o, _ := turn(t.Context(), chain, "")
				if opened := s.called() == 0; opened != x.opens || opened && o != keystrand.OutcomePostponed {
					t.Errorf("after 5 such turns the breaker is open: %v, want %v", opened, x.opens)
				}
			})
		})
	}
}

// What counts as neither must not occupy the place of a probe, nor close the breaker.
func TestProbesThatCountAsNeitherLeaveTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		chain := New(Config{Probes: 1})(s.next)
		open(t, chain, s)
		time.Sleep(31 * time.Second)
		for _, err := range []error{keystrand.Skip("old"), keystrand.Later(time.Second, "limit"), keystrand.Permanent(errDown)} {
			s.err = err
			turn(t.Context(), chain, "")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		s.err = errDown
		turn(ended, chain, "")
		if n := s.called(); n != 4 {
			t.Errorf("%d probes ran, want 4", n)
		}
		if o, _ := turn(t.Context(), chain, ""); o != keystrand.OutcomePostponed || s.called() != 1 {
			t.Errorf("the probe after them: %v, want it called, failed and postponed", o)
		}
	})
}

// A failure of the service is not blamed on the message, but what a batch has settled stays settled.
func TestFailuresOfAnOpenBreakerArePostponed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{err: &keystrand.BatchError{Settled: 2, Err: errDown}}
		chain := New(Config{Name: "payments", Failures: 1})(s.next)
		err := chain(t.Context(), keystrand.NewCall(&keystrand.Message{}, &keystrand.Message{}, &keystrand.Message{}))
		b, ok := errors.AsType[*keystrand.BatchError](err)
		if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePostponed || !ok || b.Settled != 2 {
			t.Errorf("%v: %v, want postponed with 2 settled", o, err)
		}
		if !strings.Contains(err.Error(), errDown.Error()) || !strings.Contains(err.Error(), `"payments"`) {
			t.Errorf("error %q names neither the breaker nor the cause", err)
		}
	})
}

func TestAFailureThatEndsWhileTheBreakerIsOpenIsPostponed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		began := make(chan struct{})
		chain := New(Config{})(func(ctx context.Context, c *keystrand.Call) error {
			if string(c.Messages[0].Key) == "slow" {
				close(began)
				time.Sleep(time.Second)
				return errDown
			}
			return s.next(ctx, c)
		})
		var slow sync.WaitGroup
		slow.Go(func() {
			if o, _ := turn(t.Context(), chain, "slow"); o != keystrand.OutcomePostponed {
				t.Errorf("a failure that ended while the breaker was open: %v, want postponed", o)
			}
		})
		<-began
		open(t, chain, s)
		slow.Wait()
	})
}

// A panic passes, and its error is not hidden behind a postponed one.
func TestPanicsCountAndPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{err: &keystrand.PanicError{Value: "boom"}}
		chain := New(Config{Failures: 1})(s.next)
		if err := chain(t.Context(), keystrand.NewCall(&keystrand.Message{})); err != s.err { //nolint:errorlint // the very error
			t.Errorf("a handler that panics: %v, want its unchanged error", err)
		}

		raw := New(Config{Failures: 1})(func(context.Context, *keystrand.Call) error { panic("boom") })
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("a middleware that panics: recovered %v, want boom", v)
				}
			}()
			turn(t.Context(), raw, "")
		}()
		if o, _ := turn(t.Context(), raw, ""); o != keystrand.OutcomePostponed {
			t.Errorf("after the panic: %v, want an open breaker", o)
		}
	})
}

// gobreaker does not notice a Goexit: a probe that calls it would keep the breaker half-open for ever.
func TestGoexitCountsAndExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		exits := false
		chain := New(Config{Probes: 1})(func(ctx context.Context, c *keystrand.Call) error {
			if exits {
				runtime.Goexit()
			}
			return s.next(ctx, c)
		})
		open(t, chain, s)
		time.Sleep(31 * time.Second)
		exits = true
		var lane sync.WaitGroup
		lane.Go(func() {
			turn(t.Context(), chain, "")
			t.Error("the goroutine went on after Goexit")
		})
		lane.Wait()
		exits, s.err = false, nil
		if o, wait := turn(t.Context(), chain, ""); o != keystrand.OutcomePostponed || wait <= 30*time.Second {
			t.Errorf("after a probe that exits: %v for %v, want an open breaker", o, wait)
		}
		time.Sleep(31 * time.Second)
		if o, _ := turn(t.Context(), chain, ""); o != keystrand.OutcomeHandled {
			t.Errorf("the next probe: %v, want handled", o)
		}
	})
}
