// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

func TestCommitIsRefusedAfterReleaseAndBelowTheFrontier(t *testing.T) {
	for _, store := range []*memStore{nil, newMemStore()} {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			cfg := Config{}
			if store != nil {
				cfg.Store = store
			}
			p := join(t, b, cfg, "orders").accept()
			for _, msg := range numbered(0, 6) {
				b.produce(topic0, msg)
			}
			msgs := read(t, p, 6)
			settle(t, p, msgs[4].Offset)
			commits := func(frontier int64) error {
				_, err := p.Commit(soon(t), &commit.Progress{Epoch: p.ID().Epoch, Frontier: frontier})
				return err
			}
			if err := commits(msgs[3].Offset); err == nil || errors.Is(err, commit.ErrFenced) {
				t.Errorf("commit of message 3 after 4 = %v, want an error that is not ErrFenced", err)
			}
			time.Sleep(second)
			if err := p.Release(soon(t)); err != nil {
				t.Error(err)
			}
			if err := commits(msgs[5].Offset); !errors.Is(err, commit.ErrFenced) {
				t.Errorf("commit after Release = %v, want ErrFenced", err)
			}
			if got := b.unacked(topic0); len(got) != 2 {
				t.Errorf("unacknowledged = %v, want 4 and 5", got)
			}
			if store != nil && store.at(stream("orders"), 0).Frontier != msgs[4].Offset {
				t.Errorf("stored = %+v, want frontier %d", store.at(stream("orders"), 0), msgs[4].Offset)
			}
		})
	}
}

func TestOwnershipEndsWithItsConnection(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 30) {
			b.produce(topic0, msg)
		}
		read(t, p, 10)
		settle(t, p, 6)
		b.change(func() { b.fault = func() ackFault { return hangs } })
		committed := make(chan error)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			_, err := p.Commit(ctx, &commit.Progress{Frontier: 8})
			committed <- err
		}()
		time.Sleep(second)
		begin, requests := time.Now(), b.requests
		b.cut(topic0, "")
		if err := <-committed; !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit under way = %v, want ErrFenced", err)
		}
		b.change(func() { b.fault = nil })
		if l := left(t, p); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		batch := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := p.Fetch(ctx, &batch); !errors.Is(err, source.ErrLeaving) || len(batch.Messages) > 0 {
			t.Errorf("fetch = %v with %d messages, want none and ErrLeaving", err, len(batch.Messages))
		}
		if _, err := p.Commit(ctx, &commit.Progress{Frontier: 9}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		select {
		case <-p.closed: // before the release
		case <-ctx.Done():
			t.Error("the consumer is not closed")
		}
		if d := time.Since(begin); d > ackGrace {
			t.Errorf("the consumer was closed after %v", d)
		}
		begin = time.Now()
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("the release took %v", d)
		}
		q := m.accept()
		if q.ID().Epoch <= p.ID().Epoch {
			t.Errorf("epoch %d after %d", q.ID().Epoch, p.ID().Epoch)
		}
		if msgs := read(t, q, 24); string(msgs[0].Value) != "6" || string(msgs[23].Value) != "29" {
			t.Errorf("messages %s to %s, want 6 to 29", msgs[0].Value, msgs[23].Value)
		}
		if b.requests != requests {
			t.Error("a message was acknowledged after the disconnect")
		}
		_ = q.Release(t.Context())
	})
}

// Other goroutines may see the effects of a disconnect at once. So the partition is lost when the log line returns.
func TestPartitionIsLostWhenTheDisconnectLineReturns(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		m.s.log.Logger().SubLogger(map[string]any{"topic": topic0, "subscription": "billing"}).Debug("connection closed and send to connectClosedCh")
		if !p.tenure.Over() {
			t.Error("Fetch may still return messages")
		}
		if _, err := p.acker.Commit(t.Context(), &commit.Progress{}); !errors.Is(err, ack.ErrLost) {
			t.Errorf("the acker may still send: its Commit = %v, want ErrLost", err)
		}
		if err := p.tenure.Commit(0); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		_ = p.Release(t.Context())
	})
}

// between calls then when Fetch asks the context for Done: after Fetch has checked whether its partition is over, and before it
// receives a message.
type between struct {
	context.Context
	then func()
}

func (c between) Done() <-chan struct{} {
	c.then()
	return c.Context.Done()
}

// After a disconnect the library can deliver a message behind a gap. Fetch selects the message or the loss at random, hence the
// rounds.
func TestFetchReturnsNothingAfterADisconnect(t *testing.T) {
	for range 50 {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			m := join(t, b, Config{}, "orders")
			p := m.accept()
			behind := &fakeMessage{
				b: b, t: b.topics[topic0], e: &fakeEntry{ledger: 11, entry: 7, index: 7, msgs: numbered(7, 8)},
				id: &testID{ledger: 11, entry: 7, size: 1},
			}
			ctx := between{t.Context(), sync.OnceFunc(func() {
				p.owner.broke()
				p.consumer.(*fakeConsumer).ch <- pulsar.ConsumerMessage{Message: behind} //nolint:errcheck // it is the fake
			})}
			batch := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			if err := p.Fetch(ctx, &batch); !errors.Is(err, source.ErrLeaving) || len(batch.Messages) > 0 {
				t.Errorf("fetch = %v with %d messages, want none and ErrLeaving", err, len(batch.Messages))
			}
			_ = p.Release(t.Context())
		})
	}
}

// The library never answers an acknowledgement that enters while its consumer is closing.
func TestConsumerCloseWaitsForAnAcknowledgementEnteringTheLibrary(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		read(t, p, 1)
		lost := make(chan struct{})
		defer close(lost)
		b.change(func() { b.lost, b.fault = lost, func() ackFault { return crossed } })
		go func() { _, _ = p.Commit(t.Context(), &commit.Progress{Frontier: 1}) }()
		synctest.Wait()
		b.cut(topic0, "")
		time.Sleep(second)
		select {
		case <-p.acker.Done():
		default:
			t.Error("the acker waits for ever")
		}
		select {
		case <-p.closed:
		default:
			t.Error("the consumer is not closed")
		}
		_ = p.Release(t.Context())
	})
}

func TestDisconnectWhileAttachingIsRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		tries := 0
		b.taken = func(topic string) {
			if tries++; tries <= 3 {
				b.cut(topic, "")
			}
		}
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		read(t, p, 1)
		if tries < 4 {
			t.Errorf("attached %d times, want a retry after each disconnect", tries)
		}
		_ = p.Release(t.Context())
	})
}

// The library does not say which consumer the broker has ended.
func TestConsumerEndedByTheBrokerWhileAttachingIsRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var m *member
		tries := 0
		b.taken = func(topic string) {
			if tries++; tries > 1 {
				return
			}
			b.change(func() {
				b.topics[topic].holder.cut = true
				b.topics[topic].holder = nil
			})
			m.s.unknown()
		}
		m = join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		read(t, p, 1)
		// A partition that is owned is not affected.
		m.s.unknown()
		time.Sleep(second)
		if p.tenure.Over() || tries != 2 {
			t.Errorf("attached %d times, over %t; want 2, false", tries, p.tenure.Over())
		}
		_ = p.Release(t.Context())
	})
}

func TestSlowReleaseIsLoggedAndGoesOnInTheBackground(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		p := m.accept()
		closing := make(chan struct{})
		b.change(func() { b.closing = closing })
		begin := time.Now()
		if err := p.Release(t.Context()); err != nil {
			t.Errorf("release = %v", err)
		}
		if d := time.Since(begin); d != 5*second {
			t.Errorf("release took %v, want ReleaseTimeout", d)
		}
		if !strings.Contains(told.String(), "consumer close still pending") {
			t.Errorf("not logged: %s", told.String())
		}
		time.AfterFunc(time.Minute, func() {
			b.change(func() { b.closing = nil })
			close(closing)
		})
		q := m.accept()
		if d := time.Since(begin); d < time.Minute {
			t.Errorf("accepted after %v, before the lock was free", d)
		}
		_ = q.Release(t.Context())
	})
}

// The lock can be free long before the broker answers.
func TestPartitionIsNotAcceptedAgainBeforeItsReleaseReturns(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		answer := make(chan struct{})
		b.change(func() { b.answer = answer })
		var released atomic.Bool
		go func() {
			_ = p.Release(t.Context())
			released.Store(true)
		}()
		synctest.Wait()
		got := m.accepting() // which makes the contender look
		time.Sleep(second)
		if released.Load() {
			t.Error("Release has returned before the broker answered")
		}
		if len(got) > 0 {
			t.Error("accepted again before Release has returned")
		}
		b.change(func() { b.answer = nil })
		close(answer)
		q := <-got
		if q == nil {
			return
		}
		_ = q.Release(t.Context())
	})
}

func TestReleaseEndsWithItsContext(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		closing := make(chan struct{})
		b.change(func() { b.closing = closing })
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		if err := p.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("release = %v", err)
		}
		close(closing)
	})
}
