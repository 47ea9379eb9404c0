package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
)

// handled is the end of a chain that records when it was called.
type handled struct {
	began time.Time
	mu    sync.Mutex
	at    []time.Duration
}

func newHandled() *handled { return &handled{began: time.Now()} }

func (h *handled) next(context.Context, *keystrand.Call) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = append(h.at, time.Since(h.began))
	return nil
}

// message returns the message with this offset. Its key is its label.
func message(offset int64, label string) *keystrand.Message {
	return &keystrand.Message{Stream: "orders", Offset: offset, Key: []byte(label)}
}

func byKey(m *keystrand.Message) string { return string(m.Key) }

// turn runs one turn and returns the delay of a postponed one, or 0 for a handled one.
func turn(t *testing.T, chain keystrand.Next, ms ...*keystrand.Message) time.Duration {
	t.Helper()
	outcome, wait := keystrand.OutcomeOf(chain(t.Context(), keystrand.NewCall(ms...)))
	if outcome == keystrand.OutcomeHandled {
		return 0
	}
	if outcome != keystrand.OutcomePostponed || wait <= 0 {
		t.Fatalf("outcome %v, delay %v: want handled, or postponed for some time", outcome, wait)
	}
	return wait
}

func TestNewPostponesMessagesUntilTheirOwnTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandled()
		chain := New(rate.NewLimiter(10, 2))(h.next)
		var waits []time.Duration
		for i := range int64(5) {
			waits = append(waits, turn(t, chain, message(i, "")))
		}
		if want := []time.Duration{0, 0, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}; !slices.Equal(waits, want) {
			t.Errorf("delays %v, want %v", waits, want)
		}
		for i := int64(2); i < 5; i++ {
			time.Sleep(100 * time.Millisecond)
			if wait := turn(t, chain, message(5+i, "")); wait == 0 { // it does not take the token of message i
				t.Errorf("message %d came last and was handled before message %d", 5+i, i)
			}
			if wait := turn(t, chain, message(i, "")); wait != 0 {
				t.Errorf("message %d came at its time and was postponed again for %v", i, wait)
			}
		}
	})
}

func TestNewKeepsTheReservationOfALaneThatComesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := New(rate.NewLimiter(10, 1))(newHandled().next)
		turn(t, chain, message(0, ""))
		if wait := turn(t, chain, message(1, "")); wait != 100*time.Millisecond {
			t.Errorf("postponed for %v, want 100ms", wait)
		}
		time.Sleep(40 * time.Millisecond)
		if wait := turn(t, chain, message(1, "")); wait != 60*time.Millisecond {
			t.Errorf("40 ms later postponed for %v, want 60ms", wait)
		}
	})
}

// The limiter itself refuses more tokens than its burst for ever.
func TestNewHandlesBatchesLargerThanTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandled()
		chain := New(rate.NewLimiter(10, 4))(h.next)
		batch := make([]*keystrand.Message, 30)
		for i := range batch {
			batch[i] = message(int64(i), "")
		}
		for range 3 {
			for wait := turn(t, chain, batch...); wait > 0; wait = turn(t, chain, batch...) {
				time.Sleep(wait)
			}
			for _, m := range batch {
				m.Offset += 30
			}
		}
		// 30 tokens for each batch, less the 4 that were there at first.
		if want := []time.Duration{2600 * time.Millisecond, 5600 * time.Millisecond, 8600 * time.Millisecond}; !slices.Equal(h.at, want) {
			t.Errorf("batches handled at %v, want %v", h.at, want)
		}
	})
}

func TestNewChargesOnlyMessagesThatABatchHasMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := New(rate.NewLimiter(10, 1))(newHandled().next)
		turn(t, chain, message(0, ""))
		time.Sleep(turn(t, chain, message(1, "")))
		if wait := turn(t, chain, message(1, ""), message(2, ""), message(3, "")); wait != 200*time.Millisecond {
			t.Errorf("a message with a reservation came with two more: postponed for %v, want 200ms", wait)
		}
	})
}

// The tokens of the message that waited count for the batch that it has become.
func TestNewHandlesABatchThatGrowsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandled()
		chain := New(rate.NewLimiter(10, 1))(h.next)
		turn(t, chain, message(0, ""))
		time.Sleep(turn(t, chain, message(1, "")))
		if wait := turn(t, chain, message(1, ""), message(2, ""), message(3, "")); wait != 200*time.Millisecond {
			t.Errorf("two messages more wait %v, want 200ms", wait)
		}
		time.Sleep(200 * time.Millisecond)
		if wait := turn(t, chain, message(1, ""), message(2, ""), message(3, "")); wait != 0 {
			t.Errorf("all three wait %v more, want 0", wait)
		}
	})
}

func TestNewFollowsChangesOfTheLimit(t *testing.T) {
	for name, x := range map[string]struct {
		limit, changed rate.Limit
		waiting        int
		within         time.Duration
	}{
		"stopped and started":       {0, 1000, 100, longest + time.Second},
		"raised":                    {1, 1000, 100, longest + time.Second},
		"lifted":                    {1, rate.Inf, 100, longest},
		"raised, with many waiting": {10, 10_000, 5000, longest + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandled()
				l := rate.NewLimiter(x.limit, 1)
				chain := New(l)(h.next)
				turn(t, chain, message(0, ""))
				var lanes sync.WaitGroup
				for i := range int64(x.waiting) {
					lanes.Go(func() {
						c := keystrand.NewCall(message(1+i, ""))
						for err := chain(t.Context(), c); err != nil; err = chain(t.Context(), c) {
							_, wait := keystrand.OutcomeOf(err)
							time.Sleep(wait)
						}
					})
				}
				time.Sleep(time.Millisecond)
				l.SetLimit(x.changed)
				lanes.Wait()
				last := time.Since(h.began)
				if last > x.within {
					t.Errorf("the last message was handled %v after the change, want at most %v", last, x.within)
				}
			})
		})
	}
}

// A limiter that is changed so that no message may run postpones them and does not fail or spin.
func TestNewWaitsWhileTheLimiterPermitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := rate.NewLimiter(10, 1)
		chain := New(l)(newHandled().next)
		turn(t, chain, message(0, ""))
		l.SetBurst(0)
		for i := range int64(10) {
			if wait := turn(t, chain, message(i, "")); wait < longest/2 || wait > longest {
				t.Errorf("burst 0: postponed for %v, want 5s to 10s", wait)
			}
		}
		l.SetBurst(1)
		time.Sleep(time.Second)
		if wait := turn(t, chain, message(0, "")); wait != 0 {
			t.Errorf("burst 1 again: postponed for %v", wait)
		}
	})
}

func TestReservationsOfMessagesThatDoNotComeAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(rate.NewLimiter(100, 1), "")
		for i := range int64(50) {
			_ = q.admit(time.Now(), []*keystrand.Message{message(i, "")})
		}
		if n := q.reserved.Load(); n != 49 {
			t.Fatalf("%d reservations, want 49", n)
		}
		time.Sleep(forgotten + 2*time.Second)
		_ = q.admit(time.Now(), []*keystrand.Message{message(100, "")})
		if n := q.reserved.Load(); n != 0 || len(q.slots) != 0 {
			t.Errorf("%d reservations are left after %v", n, forgotten)
		}
	})
}

func TestByLimitsEachLabelAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := By(byKey, func(label string) *rate.Limiter {
			if label == "free" {
				return nil
			}
			return rate.NewLimiter(1, 1)
		})(newHandled().next)
		for i, x := range []struct {
			label string
			wait  time.Duration
		}{{"a", 0}, {"a", time.Second}, {"b", 0}, {"free", 0}, {"free", 0}, {"b", time.Second}} {
			if wait := turn(t, chain, message(int64(i), x.label)); wait != x.wait {
				t.Errorf("message %d of %s: postponed for %v, want %v", i, x.label, wait, x.wait)
			}
		}
		err := chain(t.Context(), keystrand.NewCall(message(9, "a")))
		if err == nil || !strings.Contains(err.Error(), `rate limit of "a"`) {
			t.Errorf("error %v does not name the label", err)
		}
	})
}

// A limiter that is not full again must stay: a new one would have a whole burst.
func TestByDropsIdleLimitersOnlyWhenTheyAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queues := newQueues(func(label string) *rate.Limiter {
			if strings.HasPrefix(label, "slow") {
				return rate.NewLimiter(rate.Every(24*time.Hour), 1)
			}
			return rate.NewLimiter(1, 1)
		})
		use := func(label string) time.Duration {
			now := time.Now()
			_, wait := keystrand.OutcomeOf(queues.Get(label, now).admit(now, []*keystrand.Message{message(0, label)}))
			return wait
		}
		for i := range 10 {
			use(fmt.Sprint("slow", i))
		}
		for i := range 20_000 {
			use(fmt.Sprint("fast", i))
			time.Sleep(100 * time.Millisecond) // 600 a minute
		}
		if n := queues.Len(); n > 1500 {
			t.Errorf("%d limiters are kept, with 600 in use", n)
		}
		for i := range 10 {
			if wait := use(fmt.Sprint("slow", i)); wait == 0 {
				t.Errorf("label slow%d had a second message within a day", i)
			}
		}
	})
}

func TestMisconfiguredMiddlewarePanicsWithWhatIsWrong(t *testing.T) {
	label, limiter := byKey, func(string) *rate.Limiter { return nil }
	for want, m := range map[string]keystrand.Middleware{
		"the limiter is nil":  New(nil),
		"burst":               New(rate.NewLimiter(1, 0)),
		"label is nil":        By(nil, limiter),
		"limiter is nil":      By(label, nil),
		"label is nil\nrate":  By(nil, nil),
		"message would ever ": New(rate.NewLimiter(1, -1)),
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), want) {
					t.Errorf("panic with %v, want %q", err, want)
				}
			}()
			m(newHandled().next)
		}()
	}
	New(rate.NewLimiter(rate.Inf, 0))(newHandled().next)
}

func TestErrorsOfTheHandlerPassUnchanged(t *testing.T) {
	failed := errors.New("failed")
	chain := New(rate.NewLimiter(rate.Inf, 0))(func(context.Context, *keystrand.Call) error { return failed })
	if err := chain(t.Context(), keystrand.NewCall(message(0, ""))); err != failed { //nolint:errorlint // the very error
		t.Errorf("%v, want the unchanged error of the handler", err)
	}
}
