package breaker

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keystrand/keystrand"
)

func TestByHasABreakerForEachLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{err: errDown}
		chain := By(byKey, Config{Failures: 1})(s.next)
		turn(t.Context(), chain, "a")
		s.err = nil
		if o, _ := turn(t.Context(), chain, "b"); o != keystrand.OutcomeHandled {
			t.Errorf("label b: %v, want handled", o)
		}
		err := chain(t.Context(), keystrand.NewCall(&keystrand.Message{Key: []byte("a")}))
		if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePostponed || !strings.Contains(err.Error(), `of "a"`) {
			t.Errorf("label a: %v: %v, want it postponed with the label", o, err)
		}
	})
}

func TestChangesOfTheStateAreLoggedWithTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		s := &service{err: errDown}
		chain := By(byKey, Config{Name: "payments", Logger: log, Failures: 1, Probes: 1})(s.next)
		turn(t.Context(), chain, "eu")
		time.Sleep(31 * time.Second)
		turn(t.Context(), chain, "eu")
		s.err = nil
		time.Sleep(31 * time.Second)
		turn(t.Context(), chain, "eu")
		got := strings.Split(strings.TrimSpace(strings.ReplaceAll(b.String(), `breaker=payments label="\"eu\"" `, "")), "\n")
		want := []string{
			`level=WARN msg="breaker opened" open_for=30s error="connection refused" down=0s`,
			`level=INFO msg="breaker half-open; probing" down=31s`,
			`level=WARN msg="breaker opened" open_for=30s error="connection refused" down=31s`,
			`level=INFO msg="breaker half-open; probing" down=1m2s`,
			`level=INFO msg="breaker closed" down=1m2s`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestTripGetsTheCountsOfTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		half := func(n gobreaker.Counts) bool { return n.Requests >= 10 && 2*n.TotalFailures >= n.Requests }
		chain := New(Config{Trip: half, Window: time.Minute})(s.next)
		mixed := func(n int) {
			for i := range n {
				if s.err = nil; i%2 == 1 {
					s.err = errDown
				}
				turn(t.Context(), chain, "")
			}
		}
		mixed(8)
		time.Sleep(2 * time.Minute)
		mixed(8)
		if n := s.called(); n != 16 {
			t.Errorf("%d of 16 turns ran: the window does not forget", n)
		}
		mixed(2)
		s.called()
		if o, _ := turn(t.Context(), chain, ""); o != keystrand.OutcomePostponed || s.called() != 0 {
			t.Errorf("half of ten turns failed within a minute: %v, want an open breaker", o)
		}
	})
}

func TestMisconfiguredMiddlewarePanicsWithAllMistakes(t *testing.T) {
	all := Config{Failures: -1, Window: -1, OpenFor: -1, Probes: -1}
	both := Config{Failures: 1, Trip: func(gobreaker.Counts) bool { return true }, Window: 1, OpenFor: 1, Probes: 1 << 30}
	for name, x := range map[string]struct {
		m    keystrand.Middleware
		want []string
	}{
		"negative": {New(all), []string{"Failures", "Window", "OpenFor", "Probes"}},
		"both":     {New(both), []string{"Trip", "Window is 1ns", "OpenFor is 1ns", "Probes"}},
		"label":    {By(nil, all), []string{"label", "Failures"}},
	} {
		func() {
			defer func() {
				err, ok := recover().(error)
				if !ok {
					t.Fatalf("%s: no panic with an error: %v", name, err)
				}
				for _, want := range x.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not name %s", name, err, want)
					}
				}
			}()
			x.m((&service{}).next)
		}()
	}
}
