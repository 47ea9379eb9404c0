// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Message 5 is the third of a batch.
func TestAfterBeginsBehindTheNamedMessage(t *testing.T) {
	for id, first := range map[MessageID]int{{Ledger: 11, Entry: 1}: 2, {Ledger: 11, Entry: 3, Batch: 1}: 5} {
		for _, store := range []commit.Store{nil, newMemStore()} {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				for _, msg := range numbered(0, 3) {
					b.produce(topic0, msg)
				}
				b.produce(topic0, numbered(3, 8)...)
				m := join(t, b, Config{Alone: true, Store: store, Start: After(map[string]map[int32]MessageID{"orders": {0: id}})}, "orders")
				p := m.accept()
				msgs := read(t, p, 8-first)
				if string(msgs[0].Value) != fmt.Sprint(first) {
					t.Errorf("first message after %v = %s, want %d", id, msgs[0].Value, first)
				}
				nothing(t, p)
				settle(t, p, msgs[len(msgs)-1].Offset+1)
				time.Sleep(2*time.Second + second) // the skipped messages are a gap
				if got := b.unacked(topic0); len(got) != 0 {
					t.Errorf("unacknowledged = %v", got)
				}
				_ = p.Release(t.Context())
			})
		}
	}
}

// An id of another cluster or topic would skip every future message.
func TestAfterRefusesAMessageBehindTheEndOfTheLog(t *testing.T) {
	for id, written := range map[MessageID]int{{Ledger: 12}: 3, {Ledger: 11, Entry: 4}: 3, {Ledger: 0, Entry: 0}: 0} {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			for _, msg := range numbered(0, written) {
				b.produce(topic0, msg)
			}
			var told journal
			m := join(t, b, Config{
				Alone: true, Start: After(map[string]map[int32]MessageID{"orders": {0: id}}),
				Logger: slog.New(slog.NewTextHandler(&told, nil)),
			}, "orders")
			_, err := m.s.Accept(soon(t))
			for _, want := range []string{topic0, `"billing"`, fmt.Sprintf("%d:%d:%d", id.Ledger, id.Entry, id.Batch), "Config.Start"} {
				if !errors.Is(err, errForeign) || !strings.Contains(err.Error(), want) {
					t.Errorf("accept = %v, want it to contain %s", err, want)
				}
			}
			if strings.Contains(told.String(), "WARN") || strings.Contains(told.String(), "message id") {
				t.Errorf("the error is logged too: %s", told.String())
			}
			if got := b.unacked(topic0); len(got) != written {
				t.Errorf("unacknowledged = %v of %d messages", got, written)
			}
		})
	}
}

// stored makes a first process store progress of 6 messages, with 3 and 5 unsettled.
func stored(t *testing.T, b *fakeBroker, store *memStore) *Partition {
	t.Helper()
	m := join(t, b, Config{Alone: true, Store: store}, "orders")
	p := m.accept()
	for _, msg := range numbered(0, 6) {
		b.produce(topic0, msg)
		time.Sleep(second)
	}
	msgs := read(t, p, 6)
	settle(t, p, msgs[3].Offset, commit.Range{From: msgs[4].Offset, To: msgs[4].Offset + 1})
	time.Sleep(second)
	_ = p.Release(t.Context())
	_ = m.s.Close()
	return p
}

// Stored progress is about the subscription before it moved, in either direction.
func TestMovingTheSubscriptionDropsStoredProgress(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		for name, c := range map[string]struct {
			start func() Start
			first string
			kept  bool
		}{
			"back by id":       {func() Start { return After(map[string]map[int32]MessageID{"orders": {0: {Ledger: 11}}}) }, "1", false},
			"back by time":     {func() Start { return At(time.Unix(1, 0)) }, "0", false},
			"on by time":       {func() Start { return At(b.topics[topic0].entries[5].at) }, "5", false},
			"another is named": {func() Start { return After(map[string]map[int32]MessageID{"orders": {7: {Ledger: 11}}}) }, "3", true},
		} {
			b.remove("orders")
			b.ledger = 10
			b.create("orders", 1)
			store := newMemStore()
			before := stored(t, b, store)
			m := join(t, b, Config{Alone: true, Store: store, Start: c.start()}, "orders")
			p := m.accept()
			r := p.Restored()
			if kept := r.Frontier != 0 || len(r.Ahead) > 0; kept != c.kept || r.Epoch != p.ID().Epoch || r.Epoch <= before.ID().Epoch {
				t.Errorf("%s: restored = %+v, after %v", name, r, before.ID())
			}
			if msgs := read(t, p, 1); string(msgs[0].Value) != c.first {
				t.Errorf("%s: first message = %s, want %s", name, msgs[0].Value, c.first)
			}
			_ = p.Release(t.Context())
			_ = m.s.Close()
		}
	})
}

func TestStartMovesOnceAProcess(t *testing.T) {
	for _, store := range []*memStore{nil, newMemStore()} {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			cfg := Config{Alone: true, Start: At(time.Unix(1, 0))}
			if store != nil {
				cfg.Store = store
			}
			for _, msg := range numbered(0, 6) {
				b.produce(topic0, msg)
			}
			m := join(t, b, cfg, "orders")
			p := m.accept()
			settle(t, p, read(t, p, 6)[2].Offset)
			time.Sleep(second)
			b.cut(topic0, "")
			_ = p.Release(t.Context())
			q := m.accept()
			if msgs := read(t, q, 4); string(msgs[0].Value) != "2" {
				t.Errorf("first message after a disconnect = %s, want 2", msgs[0].Value)
			}
			_ = q.Release(t.Context())
		})
	}
}

// Latest refers to the log as it was first seen.
func TestLatestSkipsNothingOfARecreatedTopic(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.produce(topic0, numbered(0, 1)...)
		m := join(t, b, Config{Start: Latest()}, "orders")
		p := m.accept()
		nothing(t, p)
		b.remove("orders")
		if l := left(t, p); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		_ = p.Release(t.Context())
		b.create("orders", 1)
		b.produce(topic0, numbered(1, 3)...)
		q := m.accept()
		if msgs := read(t, q, 2); string(msgs[0].Value) != "1" {
			t.Errorf("first message = %s, want 1", msgs[0].Value)
		}
		_ = q.Release(t.Context())
	})
}

// A process that has never owned the partition also reads a recreated one from its first message.
func TestLatestSkipsNothingOfARecreatedTopicAtAnotherProcess(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first := join(t, b, Config{Name: "a", Start: Latest()}, "orders")
		p := first.accept()
		got := join(t, b, Config{Name: "z", Start: Latest()}, "orders").accepting()
		time.Sleep(10 * second)
		b.remove("orders")
		left(t, p)
		_ = p.Release(t.Context())
		time.Sleep(2 * time.Minute)
		_ = first.s.Close()
		b.create("orders", 1)
		b.produce(topic0, numbered(0, 2)...)
		if q := <-got; q != nil {
			read(t, q, 2)
			_ = q.Release(t.Context())
		}
	})
}

func TestLatestSkipsNothingUnsettledWhenTheSubscriptionIsDeleted(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{Start: Latest()}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		b.produce(topic0, numbered(1, 2)...)
		read(t, p, 2)
		settle(t, p, 1)
		b.unsubscribe(topic0)
		if l := left(t, p); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		_ = p.Release(t.Context())
		q := m.accept()
		if msgs := read(t, q, 2); string(msgs[1].Value) != "1" {
			t.Errorf("next message = %s, want 1, which is unsettled", msgs[1].Value)
		}
		_ = q.Release(t.Context())
	})
}
