// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
)

func TestEveryCallOfTheLibraryThatHangsIsAbandonedToldAndMadeAgain(t *testing.T) {
	for _, c := range []struct {
		call fakeCall
		cfg  Config
		what string
	}{
		{callPartitions, Config{}, "look up topics"},
		{callCandidate, Config{}, "stand for orders/0"},
		{callAttach, Config{}, "attach to orders/0"},
		{callAttach, Config{Alone: true}, "attach to orders/0"},
		{callLast, Config{Store: newMemStore()}, "claim orders/0"},
		{callSeek, Config{Alone: true, Start: At(time.Unix(0, 0))}, "seek orders/0"},
		{callSeek, Config{Alone: true, Start: After(map[string]map[int32]MessageID{"orders": {0: {}}})}, "seek orders/0"},
	} {
		t.Run(string(c.call), func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.produce(topic0, numbered(0, 1)...)
				if store, ok := c.cfg.Store.(*memStore); ok {
					store.saved["orders/0"] = commit.Progress{Ahead: []commit.Range{{From: 1, To: 2}}}
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
					t.Fatalf("trouble is %v, want that of %q", tr, c.what)
				}
				b.change(func() { b.hang = nil })
				p := m.accept()
				if tr := m.s.Report().Trouble; len(tr) != 0 {
					t.Errorf("trouble is %v, want none", tr)
				}
				// What they bring after all is closed again.
				close(hang)
				synctest.Wait()
				time.Sleep(10 * second)
				if n := len(b.candidatesOf(topic0)); n > 1 {
					t.Errorf("there are %d candidates", n)
				}
				if leaving, _, _ := p.told(); leaving {
					t.Error("the partition is asked back")
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

func TestCloseIsBoundedWhileTheClientDoesNotClose(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		s, _, err := b.source(Config{}, "orders")
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
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "client library") {
			t.Errorf("close = %v", err)
		}
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("close took %v", d)
		}
		close(hang)
	})
}
