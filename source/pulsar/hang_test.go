// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

func TestHangingCallIsAbandonedLoggedAndRetried(t *testing.T) {
	for _, c := range []struct {
		call fakeCall
		cfg  Config
		what string
	}{
		{callPartitions, Config{}, "look up topics"},
		{callCandidate, Config{}, "join election of " + stream("orders/0")},
		{callAttach, Config{}, "attach to " + stream("orders/0")},
		{callAttach, Config{Alone: true}, "attach to " + stream("orders/0")},
		{callLast, Config{Store: newMemStore()}, "claim " + stream("orders/0")},
		{callSeek, Config{Alone: true, Start: At(time.Unix(0, 0))}, "seek " + stream("orders/0")},
		{callSeek, Config{Alone: true, Start: After(map[string]map[int32]MessageID{"orders": {0: {}}})}, "seek " + stream("orders/0")},
	} {
		t.Run(string(c.call), func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.produce(topic0, numbered(0, 1)...)
				if store, ok := c.cfg.Store.(*memStore); ok {
					store.saved[stream("orders/0")] = commit.Progress{Ahead: []commit.Range{{From: 1, To: 2}}}
				}
				hang := make(chan struct{})
				b.hang, b.only = hang, c.call
				m := join(t, b, c.cfg, "orders")
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				tr := m.s.Report().Trouble
				if len(tr) != 1 || tr[0].What != c.what || !strings.Contains(tr[0].Err.Error(), "no answer") {
					t.Fatalf("trouble = %v, want %q", tr, c.what)
				}
				b.change(func() { b.hang = nil })
				p := m.accept()
				if tr := m.s.Report().Trouble; len(tr) != 0 {
					t.Errorf("trouble = %v, want none", tr)
				}
				// Late results are closed.
				close(hang)
				synctest.Wait()
				time.Sleep(10 * second)
				if n := len(b.candidatesOf(topic0)); n > 1 {
					t.Errorf("there are %d candidates", n)
				}
				if p.tenure.Over() {
					t.Error("the partition is revoked")
				}
				read(t, p, 1)
				_ = p.Release(t.Context())
				synctest.Wait()
				if b.topics[topic0].holder != nil {
					t.Error("the lock is held after the release")
				}
			})
		})
	}
}

// The constructor asks a function of the user for a token.
func TestHangingConstructorIsRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		hang, connect := make(chan struct{}), m.s.connect
		var mended atomic.Bool
		var late atomic.Pointer[fakeClient]
		m.s.connect = func() (client.Client, error) {
			if mended.Load() {
				return connect()
			}
			<-hang
			c := &fakeClient{b: b, s: m.s}
			late.Store(c)
			return c, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		tr := m.s.Report().Trouble
		if len(tr) != 1 || tr[0].What != "make the client" || !strings.Contains(tr[0].Err.Error(), "no answer") || !strings.Contains(tr[0].Err.Error(), "Authentication") {
			t.Errorf("trouble = %v, want %q", tr, "make the client")
		}
		mended.Store(true)
		p := m.accept()
		if tr := m.s.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		close(hang)
		synctest.Wait()
		if c := late.Load(); c == nil || !c.dead {
			t.Error("the late client is not closed")
		}
		_ = p.Release(t.Context())
	})
}

func TestStartTimeoutEndsAHangingConstructor(t *testing.T) {
	inBubble(t, func(w world) {
		t := w.t
		m := join(t, w.b, Config{StartTimeout: 13 * second}, "orders")
		hang := make(chan struct{})
		defer close(hang)
		m.s.connect = func() (client.Client, error) { <-hang; return nil, errFakeDown }
		begin := time.Now()
		_, err := m.s.Accept(soon(t))
		if d := time.Since(begin); d != 13*second || !errors.Is(err, ErrStartTimeout) || !strings.Contains(err.Error(), "no answer yet") {
			t.Errorf("after %v accept = %v, want after 13s ErrStartTimeout, no answer", d, err)
		}
	})
}

func TestCloseIsBoundedWhileTheConstructorHangs(t *testing.T) {
	inBubble(t, func(w world) {
		t := w.t
		s, _, err := w.b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		hang := make(chan struct{})
		s.connect = func() (client.Client, error) { <-hang; return nil, errFakeDown }
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		if _, err := s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		close(hang)
	})
}

func TestCloseIsBoundedWhileTheClientHangs(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		s, _, err := b.source(Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Release(t.Context())
		hang := make(chan struct{})
		b.change(func() { b.hang, b.only = hang, callClose })
		begin := time.Now()
		if err := s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		if d := time.Since(begin); d > 2*closeGrace {
			t.Errorf("close took %v", d)
		}
		if !strings.Contains(told.String(), "calls of the client library have not returned") {
			t.Error("Close does not log the calls that it leaves behind")
		}
		close(hang)
	})
}

func TestHangingCloseOfACandidateDelaysNothing(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		hang := make(chan struct{})
		b.change(func() { b.hang, b.only = hang, callResign })
		b.remove("orders")
		if l := left(t, p); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		_ = p.Release(t.Context())
		b.create("orders", 1)
		_ = m.accept().Release(t.Context())
		begin := time.Now()
		if err := m.s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("close took %v", d)
		}
		close(hang)
	})
}

// A process that is not elected checks at intervals whether another one holds the partition.
func TestHangingOrphanCheckDelaysTheNextOwnerBoundedly(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first := join(t, b, Config{Name: "a"}, "orders")
		p := first.accept()
		got := join(t, b, Config{Name: "z", WatchInterval: second}, "orders").accepting()
		hang := make(chan struct{})
		b.change(func() { b.hang, b.only = hang, callAttach })
		time.Sleep(10 * second)
		b.change(func() { b.hang = nil })
		_ = p.Release(t.Context())
		_ = first.s.Close()
		begin := time.Now()
		q := <-got
		if d := time.Since(begin); q == nil || d > time.Minute {
			t.Fatalf("accepted %v after %v", q, d)
		}
		close(hang)
		synctest.Wait()
		select {
		case l := <-q.Leaving():
			t.Errorf("leave = %+v, caused by a late result", l)
		default:
		}
		_ = q.Release(t.Context())
	})
}
