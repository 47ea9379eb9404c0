// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
)

// accepting returns the next partition that a member accepts.
func accepting(ctx context.Context, m *member) <-chan source.Partition {
	got := make(chan source.Partition, 1)
	go func() {
		p, _ := m.s.Accept(ctx)
		got <- p
	}()
	return got
}

// stood returns the number of candidates that a member has made.
func (m *member) stood() int {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return len(m.c.stood)
}

// The library drops the election message when it reconnects the owner's candidate. Another process is elected and waits for the
// lock, which the owner keeps until it notices.
func TestOwnerThatMissedAnElectionIsRevoked(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		owner := join(t, b, Config{Name: "m"}, "orders")
		p := owner.accept()
		candidate := b.candidatesOf(topic0)[0]
		b.away(candidate)
		other := join(t, b, Config{Name: "a"}, "orders")
		got := accepting(t.Context(), other)
		time.Sleep(10 * second)
		b.change(func() { b.dropped = 1 })
		b.back(candidate)
		select {
		case l := <-p.Leaving():
			if l.Lost {
				t.Error("lost, want revoked")
			}
		case <-time.After(time.Minute):
			t.Fatal("not revoked")
		}
		_ = p.Release(t.Context())
		_ = (<-got).Release(t.Context())
	})
}

// The same after a disconnect of all consumers: the last owner attaches at once, since the last message elected it.
func TestLastOwnerThatMissedAnElectionIsRevoked(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		owner := join(t, b, Config{Name: "m"}, "orders")
		p := owner.accept()
		b.cut(topic0, "m")
		_ = p.Release(t.Context())
		p = owner.accept()
		other := join(t, b, Config{Name: "a"}, "orders")
		got := accepting(t.Context(), other)
		time.Sleep(30 * second)
		b.change(func() { b.dropped = 1 })
		select {
		case <-p.Leaving():
		case <-time.After(2 * time.Minute):
			t.Fatal("not revoked")
		}
		_ = p.Release(t.Context())
		_ = (<-got).Release(t.Context())
	})
}

func TestOwnershipOutlivesAMissedElectionMessage(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		accepting(t.Context(), m)
		time.Sleep(10 * second) // the election has been heard of
		candidate := b.candidatesOf(topic0)[0]
		b.change(func() { b.dropped = 1 })
		b.away(candidate)
		b.back(candidate)
		time.Sleep(time.Hour)
		if p.tenure.Over() {
			t.Error("revoked")
		}
		if n := m.stood(); n != 2 {
			t.Errorf("%d candidates were made, want 2", n)
		}
		_ = p.Release(t.Context())
	})
}

func TestCandidatesOfASilentBrokerAreReplacedLessAndLessOften(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		accepting(t.Context(), m)
		candidate := b.candidatesOf(topic0)[0]
		b.change(func() { b.dropped = 1 << 30 })
		b.away(candidate)
		b.back(candidate)
		time.Sleep(time.Hour)
		if p.tenure.Over() {
			t.Error("revoked")
		}
		if n := m.stood(); n > 120 {
			t.Errorf("%d candidates were made in an hour", n)
		}
		_ = p.Release(t.Context())
	})
}

// A failover delay may be longer than the interval of the orphan check.
func TestSlowElectionIsAwaited(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.delay = 50 * second
		attached := 0
		b.taken = func(string) { attached++ }
		m := join(t, b, Config{}, "orders")
		select {
		case p := <-accepting(t.Context(), m):
			if attached != 1 {
				t.Errorf("attached %d times, want once, after the election", attached)
			}
			_ = p.Release(t.Context())
		case <-time.After(time.Hour):
			t.Fatalf("no partition, after %d candidates", m.stood())
		}
	})
}

func TestNextOwnerIsElectedWhileTheLastOneDrains(t *testing.T) {
	for name, stop := range map[string]func(*Source){
		"the process stops":     (*Source).Stop,
		"the source has failed": func(s *Source) { s.fail(errFakeGone) },
	} {
		t.Run(name, func(t *testing.T) { chosenWhileDraining(t, stop) })
	}
}

func chosenWhileDraining(t *testing.T, stop func(*Source)) {
	t.Helper()
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first, next := join(t, b, Config{Name: "a"}, "orders"), join(t, b, Config{Name: "z"}, "orders")
		p := first.accept()
		for _, msg := range numbered(0, 9) {
			b.produce(topic0, msg)
		}
		read(t, p, 9)
		got := accepting(t.Context(), next)
		time.Sleep(10 * second)
		stop(first.s)
		time.Sleep(20 * second)
		if p.tenure.Over() {
			t.Error("revoked by its own Stop")
		}
		settle(t, p, 7)
		if len(got) > 0 {
			t.Fatal("accepted before the release")
		}
		_ = p.Release(t.Context())
		begin := time.Now()
		q := <-got
		if d := time.Since(begin); d > 2*mostBusyRetry {
			t.Errorf("accepted %v after the release, want the next attempt to get the lock", d)
		}
		if msgs := read(t, q, 2); string(msgs[0].Value) != "7" {
			t.Errorf("next message = %s, want 7", msgs[0].Value)
		}
		_ = q.Release(t.Context())
	})
}

func TestOfferedPartitionMovesWhenTheProcessStops(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first, next := join(t, b, Config{Name: "a"}, "orders"), join(t, b, Config{Name: "z"}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), second/2)
		defer cancel()
		<-accepting(ctx, first) // too early
		got := accepting(t.Context(), next)
		time.Sleep(10 * second)
		if len(got) > 0 {
			t.Fatal("accepted, want it offered to the other process")
		}
		first.s.Stop()
		select {
		case q := <-got:
			_ = q.Release(t.Context())
		case <-time.After(10 * second):
			t.Fatal("no process owns it")
		}
		if _, err := first.s.Accept(t.Context()); !errors.Is(err, errNoMore) {
			t.Errorf("accept after Stop = %v", err)
		}
	})
}

// No call of Accept waits between two calls.
func TestCandidatesStayBetweenTwoCallsOfAccept(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("orders", 2)
		m := join(t, b, Config{}, "orders")
		for range 2 {
			p := m.accept()
			defer func() { _ = p.Release(t.Context()) }()
			time.Sleep(time.Minute)
		}
		if n := m.stood(); n != 2 {
			t.Errorf("%d candidates were made for 2 partitions", n)
		}
	})
}

// The library reports a missing topic when it gives a candidate up for good. The next survey can find the topic before the
// contender has noticed.
func TestCandidateGivenUpByTheLibraryIsReplacedAlthoughItsTopicExistsAgain(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		hang := make(chan struct{})
		b.change(func() { b.hang, b.only = hang, callAttach })
		got := m.accepting()
		time.Sleep(10 * second) // elected, and retrying the lock
		b.away(b.candidatesOf(topic0)[0])
		m.s.deleted(topic0)
		time.Sleep(second)
		b.change(func() { b.hang = nil })
		close(hang)
		p := <-got
		if p == nil {
			return
		}
		time.Sleep(time.Minute)
		if n := m.stood(); n != 2 {
			t.Errorf("%d candidates were made, want 2: the first was given up", n)
		}
		_ = p.Release(t.Context())
	})
}
