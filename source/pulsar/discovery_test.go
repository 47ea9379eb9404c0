// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
)

var errFakeForbidden = errors.New("server error: AuthorizationError: Client is not authorized to get partition metadata")

// matched is a topic that matches the pattern of these tests.
const matched = "persistent://public/default/orders-a"

func matching() Config { return Config{Pattern: regexp.MustCompile("/orders-.$")} }

// idle checks that no partition is accepted for a while.
func (m *member) idle(d time.Duration) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), d)
	defer cancel()
	p, err := m.s.Accept(ctx)
	if p != nil {
		m.t.Errorf("accepted %v, want nothing", p.ID())
		_ = p.Release(ctx)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		m.t.Errorf("accept = %v, want nothing", err)
	}
}

// troubled returns the error of the trouble with this name, nil for none.
func (m *member) troubled(what string) error {
	for _, tr := range m.s.Report().Trouble {
		if tr.What == what {
			return tr.Err
		}
	}
	return nil
}

func TestLookUpRefusedLaterIsTrouble(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("bills", 1)
		m := join(t, b, Config{}, "orders", "bills")
		p, q := m.accept(), m.accept()
		b.change(func() {
			b.lookup = func(topic string) error {
				if topic == "orders" {
					return errFakeForbidden
				}
				return nil
			}
		})
		time.Sleep(5 * time.Minute)
		err := m.troubled("look up " + stream("orders"))
		if !errors.Is(err, errFakeForbidden) || !strings.Contains(err.Error(), "grant") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		b.change(func() { b.lookup = nil })
		time.Sleep(time.Minute)
		if tr := m.s.Report().Trouble; len(tr) > 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

func TestMatchingTopicsAreCreatedAndDeleted(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("persistent://public/default/others", 1)
		b.create(matched, 2)
		m, _ := joinWeb(t, b, matching())
		first := []*Partition{m.accept(), m.accept()}
		for _, p := range first {
			if p.ID().Stream != matched {
				t.Errorf("accepted %v", p.ID())
			}
		}
		b.remove(matched)
		for _, p := range first {
			if l := <-p.Leaving(); !l.Lost {
				t.Errorf("%v: leave = %+v, want lost", p.ID(), l)
			}
			_ = p.Release(t.Context())
		}
		m.idle(2 * time.Minute)
		m.s.mu.Lock()
		if n := len(m.s.contenders); n > 0 {
			t.Errorf("%d contenders wait for a topic that is not listed", n)
		}
		m.s.mu.Unlock()
		b.create(matched, 0)
		p := m.accept()
		if p.ID().Epoch <= first[0].ID().Epoch {
			t.Errorf("epoch %d after %d", p.ID().Epoch, first[0].ID().Epoch)
		}
		_ = p.Release(t.Context())
	})
}

// A look-up creates a topic at a broker that creates topics on request.
func TestDeletedMatchingTopicIsNotCreatedByALookUp(t *testing.T) {
	for _, away := range []bool{false, true} {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			b.create(matched, 0)
			m, web := joinWeb(t, b, matching())
			p := m.accept()
			web.set(func() {
				if away {
					web.err = io.ErrUnexpectedEOF
				}
			})
			b.remove(matched)
			b.change(func() { b.creates = true })
			m.s.deleted(matched)
			<-p.Leaving()
			_ = p.Release(t.Context())
			m.idle(5 * time.Minute)
			b.mu.Lock()
			if _, there := b.topics[matched]; there {
				t.Errorf("the topic was created again; web service down: %t", away)
			}
			b.mu.Unlock()
		})
	}
}

func TestMatchingTopicThatIsNamedIsReadOnce(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create(matched, 0)
		b.create("orders-a", 0) // the same, by its short name
		m, _ := joinWeb(t, b, matching(), "orders-a")
		p := m.accept()
		if p.ID().Stream != stream("orders-a") {
			t.Errorf("accepted %v", p.ID())
		}
		m.idle(2 * time.Minute)
		_ = p.Release(t.Context())
	})
}

func TestNamedTopicsAreReadWithoutTheWebService(t *testing.T) {
	for name, set := range map[string]func(*fakeWeb){
		"down":   func(w *fakeWeb) { w.err = io.ErrUnexpectedEOF },
		"silent": func(w *fakeWeb) { w.hang = true },
		"faulty": func(w *fakeWeb) { w.status = http.StatusInternalServerError },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.create(matched, 1)
				m, web := joinWeb(t, b, matching(), "orders")
				web.set(func() { set(web) })
				p := m.accept()
				if p.ID().Stream != stream("orders") {
					t.Errorf("accepted %v", p.ID())
				}
				b.create("orders", 2)
				q := m.accept() // the added partition is noticed
				if m.troubled("list topics") == nil {
					t.Error("no trouble, want the failed list")
				}
				web.set(func() { web.err, web.hang, web.status = nil, false, 0 })
				r := m.accept()
				if r.ID().Stream != matched {
					t.Errorf("accepted %v", r.ID())
				}
				if err := m.troubled("list topics"); err != nil {
					t.Errorf("trouble = %v, want none", err)
				}
				// After a failure later, known topics are still looked up.
				web.set(func() { set(web) })
				b.create(matched, 2)
				s := m.accept()
				b.remove("orders")
				for _, lost := range []*Partition{p, q} {
					<-lost.Leaving()
				}
				for _, all := range []*Partition{p, q, r, s} {
					_ = all.Release(t.Context())
				}
			})
		})
	}
}

func TestAcceptReturnsRefusalsOfTheWebService(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*fakeWeb)
		cfg  Config
		want error
		says []string
	}{
		{"no token", func(w *fakeWeb) { w.status = http.StatusUnauthorized }, Config{}, ErrRefused, []string{"AdminToken", "http://fake:8080", "public/default"}},
		{"no permission", func(w *fakeWeb) { w.status = http.StatusForbidden }, Config{}, ErrRefused, []string{"AdminToken"}},
		{"away", func(w *fakeWeb) { w.err = io.ErrUnexpectedEOF }, Config{StartTimeout: 20 * second}, ErrStartTimeout, []string{"http://fake:8080", "unexpected EOF"}},
		{"hangs", func(w *fakeWeb) { w.hang = true }, Config{StartTimeout: 20 * second}, ErrStartTimeout, []string{"http://fake:8080"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				c.cfg.Pattern = regexp.MustCompile("none")
				m, web := joinWeb(t, b, c.cfg)
				web.set(func() { c.set(web) })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := m.s.Accept(ctx)
				if !errors.Is(err, c.want) {
					t.Fatalf("accept = %v, want %v", err, c.want)
				}
				for _, text := range c.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("accept = %v, want it to contain %q", err, text)
					}
				}
			})
		})
	}
}

// Tokens are renewed.
func TestWebServiceRefusalAfterAListIsTrouble(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create(matched, 1)
		m, web := joinWeb(t, b, matching())
		p := m.accept()
		web.set(func() { web.status = http.StatusUnauthorized })
		m.idle(5 * time.Minute)
		if err := m.troubled("list topics"); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		if p.tenure.Over() {
			t.Error("the partition is leaving")
		}
		_ = p.Release(t.Context())
	})
}

var errFakeNotReady = errors.New("server error: ServiceNotReady: the bundle is being unloaded")

// notReady makes look-ups of a topic fail with a passing error.
func (b *fakeBroker) notReady(name string) {
	b.change(func() {
		b.lookup = func(topic string) error {
			if topic == name {
				return errFakeNotReady
			}
			return nil
		}
	})
}

func TestFailedLookUpDelaysNoOtherTopic(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("bills", 1)
		b.notReady("bills")
		b.produce(topic0, numbered(0, 1)...)
		b.produce("bills-partition-0", numbered(0, 1)...)
		m := join(t, b, Config{Start: Latest()}, "bills", "orders")
		p := m.accept()
		if p.ID().Stream != stream("orders") {
			t.Fatalf("accepted %v", p.ID())
		}
		time.Sleep(10 * time.Minute)
		if err := m.troubled("look up topics"); !errors.Is(err, errFakeNotReady) || !strings.Contains(err.Error(), "bills") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		b.change(func() { b.lookup = nil })
		q := m.accept()
		if q.ID().Stream != stream("bills") {
			t.Fatalf("accepted %v", q.ID())
		}
		nothing(t, q) // the message existed at the start
		if tr := m.s.Report().Trouble; len(tr) > 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

func TestFailedLookUpStaysTroubleWhileOthersSucceed(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("bills", 1)
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "bills", "orders")
		p, q := m.accept(), m.accept()
		b.notReady("bills")
		time.Sleep(10*time.Minute + second)
		if err := m.troubled("look up topics"); !errors.Is(err, errFakeNotReady) || !strings.Contains(err.Error(), "bills") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		b.change(func() { b.lookup = nil })
		time.Sleep(time.Minute)
		if tr := m.s.Report().Trouble; len(tr) > 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
		_ = m.s.Close()
		if n, over := strings.Count(told.String(), "operation failed; retrying"), strings.Count(told.String(), "operation recovered"); n != 10 || over != 1 {
			t.Errorf("logged %d failures and %d recoveries, want one a minute and 1:\n%s", n, over, &told)
		}
	})
}

func TestStartTimeoutIsExactAndNamesTheLastFault(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(b *fakeBroker)
		says string
	}{
		"a call that hangs":      {func(b *fakeBroker) { b.hang = make(chan struct{}) }, "no answer"},
		"calls that fail":        {func(b *fakeBroker) { b.notReady("orders") }, "ServiceNotReady"},
		"one topic of two fails": {func(b *fakeBroker) { b.notReady("bills") }, "ServiceNotReady"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.create("bills", 1)
				c.set(b)
				m := join(t, b, Config{StartTimeout: 13 * second}, "orders", "bills")
				begin := time.Now()
				var err error
				for err == nil {
					var p source.Partition
					if p, err = m.s.Accept(soon(t)); err == nil {
						defer func() { _ = p.Release(t.Context()) }()
					}
				}
				if d := time.Since(begin); d != 13*second || !errors.Is(err, ErrStartTimeout) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("after %v accept = %v, want after 13s an error that contains %q", d, err, c.says)
				}
				if b.hang != nil {
					close(b.hang)
				}
			})
		})
	}
}

// Anyone may create a topic that matches. It must not stop the reading of others.
func TestRefusedMatchingTopicEndsNothingElse(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m, _ := joinWeb(t, b, matching(), "orders")
		p := m.accept()
		b.create(matched, 0)
		b.change(func() { b.refuse = func(string) error { return errFakeForbidden } })
		m.idle(5 * time.Minute)
		if err := m.troubled("join election of " + matched + "/0"); err == nil || !strings.Contains(err.Error(), "grant") || !strings.Contains(err.Error(), "billing") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		if p.tenure.Over() {
			t.Error("the other partition is leaving")
		}
		b.change(func() { b.refuse = nil })
		q := m.accept()
		if tr := m.s.Report().Trouble; len(tr) > 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}
