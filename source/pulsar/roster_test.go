// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOwnedPartitionsAreOneLine(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("orders", 4)
		var told, other journal
		m := join(t, b, Config{Name: "a", Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		ps := []*Partition{m.accept(), m.accept(), m.accept(), m.accept()}
		time.Sleep(2 * second)
		synctest.Wait()
		for _, want := range []string{
			`level=INFO msg="pulsar: connected" subscription=billing url=pulsar://fake:6650 member=` + m.s.name + " topics=1 partitions=4\n",
			`level=INFO msg="pulsar: partitions owned" subscription=billing owned=4 of=4 partitions=` + stream("orders/0-3") + "\n",
		} {
			if !strings.Contains(told.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, &told)
			}
		}
		if n := strings.Count(told.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want 2:\n%s", n, &told)
		}

		n := join(t, b, Config{Name: "b", Logger: slog.New(slog.NewTextHandler(&other, nil))}, "orders")
		got := n.accepting()
		for _, p := range ps {
			if p.ID().Partition%2 == 1 {
				left(t, p)
				_ = p.Release(t.Context())
			}
		}
		q := <-got
		r := n.accept()
		time.Sleep(2 * second)
		synctest.Wait()
		if want := "owned=2 of=4 partitions=" + stream("orders/0,2") + "\n"; !strings.Contains(told.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &told)
		}
		if want := "owned=2 of=4 partitions=" + stream("orders/1,3") + "\n"; !strings.Contains(other.String(), want) {
			t.Errorf("the log of the other process lacks %q:\n%s", want, &other)
		}
		for _, p := range ps {
			if p.ID().Partition%2 == 0 {
				_ = p.Release(t.Context())
			}
		}
		_, _ = q.Release(t.Context()), r.Release(t.Context())
	})
}

func TestStandbyIsLoggedOnce(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{Name: "a"}, "orders")
		p := m.accept()
		var told journal
		n := join(t, b, Config{Name: "b", Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		got := n.accepting()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(told.String(), `msg="pulsar: standing by; other processes own all partitions" subscription=billing of=1`); n != 1 {
			t.Errorf("logged %d times that it stands by, want once:\n%s", n, &told)
		}
		m.s.Stop()
		_ = p.Release(t.Context())
		q := <-got
		time.Sleep(2 * second)
		synctest.Wait()
		if want := "owned=1 of=1 partitions=" + stream("orders/0") + "\n"; !strings.Contains(told.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &told)
		}
		_ = q.Release(t.Context())
	})
}

// The library drops a message that arrives before the answer to the candidate's attachment: a broker sends that at once when
// another candidate stays elected.
func TestStandbyIsLoggedAlthoughTheLibraryDropsItsMessages(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{Name: "a"}, "orders")
		p := m.accept()
		b.change(func() { b.dropped = 1000 })
		var told journal
		n := join(t, b, Config{Name: "b", Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		got := n.accepting()
		time.Sleep(10 * second)
		synctest.Wait()
		if n := strings.Count(told.String(), "standing by"); n != 1 {
			t.Errorf("logged %d times that it stands by, want once:\n%s", n, &told)
		}
		b.change(func() { b.dropped = 0 })
		m.s.Stop()
		_ = p.Release(t.Context())
		q := <-got
		_ = q.Release(t.Context())
	})
}

// A broker counts messages behind the position of a subscription as its backlog. The one of the election receives none.
func TestElectionsSubscriptionFollowsTheOwner(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for n := range 20 {
			b.produce(topic0, numbered(n, n+1)...)
			read(t, p, 1)
			settle(t, p, int64(n+1))
			time.Sleep(second)
		}
		time.Sleep(followEvery)
		b.mu.Lock()
		got := fmt.Sprint(b.topics[topic0].followed)
		b.mu.Unlock()
		if !strings.HasSuffix(got, "11:19:0]") || strings.Count(got, ":") > 2*6 {
			t.Errorf("moved to %s, want at last 11:19, and at most every %v", got, followEvery)
		}
		time.Sleep(time.Hour)
		b.mu.Lock()
		again := fmt.Sprint(b.topics[topic0].followed)
		b.mu.Unlock()
		if again != got {
			t.Errorf("moved to %s without new messages", again)
		}
		_ = p.Release(t.Context())
	})
}

// The next owner may have nothing to read, and so nothing to move the subscription to.
func TestElectionsSubscriptionIsMovedBeforeTheCandidateWithdraws(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for n := range 3 {
			b.produce(topic0, numbered(n, n+1)...)
		}
		read(t, p, 3)
		settle(t, p, 1)
		m.s.Stop()
		time.Sleep(100 * time.Millisecond)
		settle(t, p, 3)
		_ = p.Release(t.Context())
		if err := m.s.Close(); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if got := fmt.Sprint(b.topics[topic0].followed); got != "[11:2:0]" {
			t.Errorf("moved to %s, want [11:2:0]", got)
		}
	})
}

func TestNoTopicsAreNoStandby(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		p := m.accept()
		b.change(func() { p.lose("test") })
		m.s.mu.Lock()
		clear(m.s.contenders)
		m.s.mu.Unlock()
		_ = p.Release(t.Context())
		time.Sleep(5 * second)
		synctest.Wait()
		if strings.Contains(told.String(), "standing by") {
			t.Errorf("stands by for no partition:\n%s", &told)
		}
	})
}

// The trouble with a connection explains what the library does not, but not the answer of another broker.
func TestAnswersOfABrokerAreTroubleWhileAnotherIsUnreachable(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		lookup := errors.New("server error: TooManyRequests: Failed due to too many pending lookup requests")
		attach := errors.New("server error: MetadataError: no metadata")
		b.lookup = func(string) error { return lookup }
		b.refuse = func(string) error { return attach }
		m := join(t, b, Config{}, "orders")
		got := m.accepting()
		link := m.s.log.Logger().SubLogger(map[string]any{"remote_addr": "other:6650"})
		link.WithError(syscall.ECONNREFUSED).Warn("Failed to connect to broker.")
		time.Sleep(5 * second)
		if err := m.troubled(lookUps); !errors.Is(err, lookup) || !strings.Contains(err.Error(), "maxConcurrentLookupRequest") {
			t.Errorf("trouble of look-ups = %v", err)
		}
		b.change(func() { b.lookup = nil })
		link.WithError(syscall.ECONNREFUSED).Warn("Failed to connect to broker.")
		time.Sleep(5 * second)
		if err := m.troubled("join election of " + stream("orders/0")); !errors.Is(err, attach) {
			t.Errorf("trouble of the election = %v", m.s.Report().Trouble)
		}
		b.change(func() { b.refuse = nil })
		if p := <-got; p != nil {
			_ = p.Release(t.Context())
		}
	})
}

func TestConnectionsAreTroubleAtOnceAndHealedOnce(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.down = true
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		got := m.accepting()
		link := m.s.log.Logger().SubLogger(map[string]any{"remote_addr": "fake:6650"})
		fails := func() {
			link.Info("Connecting to broker")
			link.WithError(syscall.ECONNREFUSED).Warn("Failed to connect to broker.")
		}
		for range 60 {
			fails()
			time.Sleep(3 * second)
		}
		synctest.Wait()
		line := `msg="pulsar: operation failed; retrying" subscription=billing what="connect to fake:6650" error="connection refused"`
		if n := strings.Count(told.String(), line); n != 3 {
			t.Errorf("logged %d times in 3 minutes, want 3:\n%s", n, &told)
		}
		if n := strings.Count(told.String(), "failed; retrying"); n > 4 { // one look-up was begun before the first line
			t.Errorf("%d lines, want 3: look-ups fail for the same reason:\n%s", n, &told)
		}
		if err := m.troubled("connect to fake:6650"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		link.Info("Connecting to broker")
		link.Info("Connection is ready")
		b.change(func() { b.down = false })
		p := <-got
		fails() // another attempt, to an address that nobody needs any more
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(told.String(), `recovered" subscription=billing what="connect to`); n != 1 || len(m.s.Report().Trouble) > 0 {
			t.Errorf("logged %d recoveries, want 1; trouble %v:\n%s", n, m.s.Report().Trouble, &told)
		}
		_ = p.Release(t.Context())
	})
}

// The library tries for OperationTimeout before it returns an error. Its first line is enough.
func TestFirstConnectionThatCannotHealIsAnErrorAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		refusal string
		want    error
	}{
		"no token":       {"Client can't connect with authMethod=none", ErrRefused},
		"too many links": {"Reached the maximum number of connections", nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				hang := make(chan struct{})
				defer close(hang)
				b.hang = hang
				m := join(t, b, Config{}, "orders")
				begin, done := time.Now(), make(chan error, 1)
				go func() {
					_, err := m.s.Accept(soon(t))
					done <- err
				}()
				synctest.Wait()
				link := m.s.log.Logger().SubLogger(map[string]any{"remote_addr": "fake:6650"})
				link.Info("Connecting to broker")
				link.Warnf("Failed to establish connection with broker: '%s'", c.refusal)
				if c.want == nil {
					time.Sleep(second)
					if err := m.troubled("connect to fake:6650"); err == nil || !strings.Contains(err.Error(), c.refusal) || !strings.Contains(err.Error(), "brokerMaxConnections") {
						t.Errorf("trouble = %v", err)
					}
					return
				}
				if err := <-done; !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.refusal) || time.Since(begin) > 0 {
					t.Errorf("accept = %v after %v, want %v at once", err, time.Since(begin), c.want)
				}
			})
		})
	}
}

// An orderly stop takes at most 1 s to release and 2 s to close, whatever hangs.
func TestStopIsShortWhileTheBrokerHangs(t *testing.T) {
	for _, call := range []fakeCall{"", callPartitions, callCandidate, callAttach, callClose, callResign} {
		t.Run(fmt.Sprintf("hangs %q", call), func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				m := join(t, b, Config{}, "orders")
				p := m.accept()
				hang := make(chan struct{})
				defer close(hang)
				b.change(func() { b.hang, b.only = hang, call })
				time.Sleep(time.Minute)
				begin := time.Now()
				m.s.Stop()
				_ = p.Release(t.Context())
				_ = m.s.Close()
				if d := time.Since(begin); d > 2*closeGrace {
					t.Errorf("release and close took %v", d)
				}
			})
		})
	}
	t.Run("hangs in the close of a consumer", func(t *testing.T) {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			m := join(t, b, Config{}, "orders")
			p := m.accept()
			hang := make(chan struct{})
			b.change(func() { b.closing = hang })
			begin := time.Now()
			m.s.Stop()
			if err := p.Release(t.Context()); err != nil || time.Since(begin) != closeGrace {
				t.Errorf("release = %v after %v, want %v", err, time.Since(begin), closeGrace)
			}
			close(hang)
		})
	})
}

// A connected broker that does not answer is one trouble for all partitions, two seconds later.
func TestMissingAnswersAreOneTrouble(t *testing.T) {
	for _, call := range []fakeCall{callPartitions, callCandidate, callAttach} {
		t.Run(string(call), func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.create("orders", 8)
				hang := make(chan struct{})
				b.hang, b.only = hang, call
				var told journal
				m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
				link := m.s.log.Logger().SubLogger(map[string]any{"remote_addr": "fake:6650"})
				link.Info("Connection is ready")
				got := m.accepting()
				time.Sleep(slowAnswer + 1500*time.Millisecond) // and the time of an election
				if err := m.troubled(waitsFor); err == nil || !strings.Contains(err.Error(), "no answer for 2s") {
					t.Errorf("trouble = %v", m.s.Report().Trouble)
				}
				time.Sleep(time.Minute)
				if n := strings.Count(told.String(), "failed; retrying"); n != 1 {
					t.Errorf("logged %d times in a minute, want 1:\n%s", n, &told)
				}
				b.change(func() { b.hang = nil })
				close(hang)
				p := <-got
				time.Sleep(10 * second)
				if n := strings.Count(told.String(), `recovered" subscription=billing what="wait for the brokers"`); n != 1 || len(m.s.Report().Trouble) > 0 {
					t.Errorf("logged %d recoveries, want 1; trouble %v:\n%s", n, m.s.Report().Trouble, &told)
				}
				_ = p.Release(t.Context())
			})
		})
	}
}

// An answer may come at the moment in which its lack is recorded.
func TestAnswerThatIsJustInTimeLeavesNoTrouble(t *testing.T) {
	inBubble(t, func(w world) {
		t := w.t
		s, _, err := w.b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		s.log.Logger().SubLogger(map[string]any{"remote_addr": "fake:6650"}).Info("Connection is ready")
		for range 200 {
			over := s.asks(t.Context(), "attach")
			time.Sleep(slowAnswer)
			over(nil)
			synctest.Wait()
			if s.isSilent() || len(s.Report().Trouble) > 0 {
				t.Fatalf("silent %v, trouble %v", s.isSilent(), s.Report().Trouble)
			}
		}
	})
}
