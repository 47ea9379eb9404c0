// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A process elected after a disconnect gives the last owner time to notice its loss.
func TestNewOwnerStandsOffAfterADisconnect(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		owner := join(t, b, Config{Name: "a"}, "orders")
		p := owner.accept()
		other := join(t, b, Config{Name: "z"}, "orders")
		got := other.accepting()
		time.Sleep(10 * second)
		if p.tenure.Over() {
			t.Fatal("revoked before the disconnect")
		}
		begin := time.Now()
		b.cut(topic0, "a")
		q := <-got
		if q == nil {
			return
		}
		if d := time.Since(begin); d < b.delay+standOff || d > b.delay+2*standOff+second {
			t.Errorf("attached after %v, want an election of %v and then %v to %v", d, b.delay, standOff, 2*standOff)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

// A former owner knows no better than others whether the last owner has noticed its loss.
func TestFormerOwnerStandsOffAfterADisconnect(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		once := join(t, b, Config{Name: "m"}, "orders")
		p := once.accept()
		got := join(t, b, Config{Name: "a"}, "orders").accepting()
		left(t, p)
		_ = p.Release(t.Context())
		owned := <-got
		if owned == nil {
			return
		}
		again := once.accepting()
		time.Sleep(10 * second)
		begin := time.Now()
		b.cut(topic0, "a")
		q := <-again
		if q == nil {
			return
		}
		if d := time.Since(begin); d < b.delay+standOff {
			t.Errorf("attached after %v, want an election of %v and then at least %v", d, b.delay, standOff)
		}
		_ = owned.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

// The attempt began before the disconnect, so the last owner may not have noticed its loss.
func TestDisconnectWhileAttachingStandsOff(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var m *member
		var broke time.Time
		b.taken = func(topic string) {
			if broke.IsZero() {
				broke = time.Now()
				m.s.disconnected(topic, "billing"+candidates)
			}
		}
		m = join(t, b, Config{}, "orders")
		p := m.accept()
		if d := time.Since(broke); d < standOff || d > 2*standOff {
			t.Errorf("attached %v after the disconnect, want %v to %v", d, standOff, 2*standOff)
		}
		_ = p.Release(t.Context())
	})
}

// The disconnect happens after the contender has checked for one, and before it takes the lock.
func TestAttachedPartitionIsNotOwnedBeforeTheStandOff(t *testing.T) {
	s, err := New("pulsar://fake:6650", "billing", []string{"orders"}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := newContender(s, topic0, "orders", 0, false)
	c.shook()
	if c.hold(&Partition{}, c.disconnects()) || !c.cautious() {
		t.Error("owned although the last owner may not have noticed its loss")
	}
}

// The candidate retries the lock of an owner that drains. After a disconnect that owner must have time to notice.
func TestCandidateWaitingForTheLockStandsOffAfterADisconnect(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		p := join(t, b, Config{Name: "z"}, "orders").accept()
		next := join(t, b, Config{Name: "a"}, "orders")
		got := next.accepting()
		if l := left(t, p); l.Lost {
			t.Fatal("lost before the disconnect")
		}
		time.Sleep(second) // it drains
		broke := time.Now()
		b.cut(topic0, "")
		q := <-got
		if q == nil {
			return
		}
		if d := time.Since(broke); d < standOff {
			t.Errorf("attached %v after the disconnect, want at least %v", d, standOff)
		}
		_ = p.Release(t.Context())
		_ = q.Release(t.Context())
	})
}

// A broker can end a consumer that the library does not know yet. One line says so, and does not name it.
func TestConsumerUnknownToTheLibraryIsAttachedAgain(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var m *member
		tries := 0
		b.taken = func(string) {
			if tries++; tries == 1 {
				m.s.log.Logger().WithField("consumerID", 3).Warnf("Consumer with ID not found while closing consumer")
			}
		}
		m = join(t, b, Config{}, "orders")
		p := m.accept()
		if tries != 2 {
			t.Errorf("attached %d times, want 2: the first consumer had ended", tries)
		}
		_ = p.Release(t.Context())
	})
}

func TestLastOwnerDoesNotStandOff(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		begin := time.Now()
		b.cut(topic0, "")
		_ = p.Release(t.Context())
		q := m.accept()
		if d := time.Since(begin); d > 0 {
			t.Errorf("attached again after %v", d)
		}
		_ = q.Release(t.Context())
	})
}

// When a terminated partition is attached and read, the library closes the connection of all partitions.
func TestTerminatedPartitionIsAttachedLessAndLessOften(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("orders", 2)
		const ended = "orders-partition-1"
		var m *member
		b.taken = func(topic string) {
			if topic != ended {
				return
			}
			time.AfterFunc(10*time.Millisecond, func() {
				m.s.endOfTopic()
				b.cut(topic0, "")
				b.cut(ended, "")
			})
		}
		var told journal
		m = join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var accepted [2]atomic.Int64
		go func() {
			for {
				p, err := m.s.Accept(ctx)
				if err != nil {
					return
				}
				accepted[p.ID().Partition].Add(1)
				go func() {
					select {
					case <-p.Leaving():
					case <-ctx.Done():
					}
					_ = p.Release(context.WithoutCancel(ctx))
				}()
			}
		}()
		time.Sleep(time.Hour)
		first := [2]int64{accepted[0].Load(), accepted[1].Load()}
		time.Sleep(time.Hour)
		for i, n := range []int64{accepted[0].Load() - first[0], accepted[1].Load() - first[1]} {
			if n > 30 {
				t.Errorf("partition %d was owned %d times in an hour", i, n)
			}
		}
		m.s.mu.Lock()
		owned := len(m.s.held)
		m.s.mu.Unlock()
		if owned == 0 {
			t.Error("the other partition is not owned")
		}
		synctest.Wait()
		n := 0
		for l := range strings.Lines(told.String()) {
			if strings.Contains(l, "may be terminated") && strings.Contains(l, "orders/1#") && strings.Contains(l, "billing") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("logged %d times that the topic may be terminated, want once", n)
		}
	})
}
