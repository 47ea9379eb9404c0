package pulsar

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

const (
	topic0 = "orders-partition-0"
	second = time.Second
)

// inBubble runs a test with a broker that has the topic orders of one partition.
func inBubble(t *testing.T, f func(w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBroker()
		b.create("orders", 1)
		f(world{t: t, b: b})
	})
}

type world struct {
	t *testing.T
	b *fakeBroker
}

func TestCommitOutlivesAHangingAcknowledgement(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 10) {
			b.produce(topic0, msg)
		}
		read(t, p, 10)
		b.change(func() { b.fault = func() ackFault { return late } })
		ctx, cancel := context.WithTimeout(t.Context(), 5*second)
		defer cancel()
		_, err := p.Commit(ctx, &commit.Progress{Frontier: 4})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "outcome is unknown") {
			t.Fatalf("commit while the broker is silent = %v", err)
		}
		// The next commit waits for that answer, and includes more.
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		if stored, err := p.Commit(ctx, &commit.Progress{Frontier: 6}); err != nil || stored.Frontier != 6 || stored.Replays != 0 {
			t.Fatalf("commit after the answer = %+v, %v", stored, err)
		}
		if got := b.unacked(topic0); len(got) != 4 || got[0] != 6 {
			t.Fatalf("unacknowledged = %v, want 6 to 9", got)
		}
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestReleaseIsBoundedWhileAnAcknowledgementHangs(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		read(t, p, 1)
		b.change(func() { b.fault = func() ackFault { return hangs } })
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		if _, err := p.Commit(ctx, &commit.Progress{Frontier: 1}); err == nil {
			t.Fatal("the commit was confirmed")
		}
		begin := time.Now()
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > ackGrace {
			t.Errorf("Release took %v", d)
		}
	})
}

func TestFailedAcknowledgementsAreLoggedAndRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 3) {
			b.produce(topic0, msg)
		}
		read(t, p, 3)
		faults := []ackFault{notStored, storedUnanswered, notStored}
		b.change(func() {
			b.fault = func() ackFault {
				if len(faults) == 0 {
					return noFault
				}
				f := faults[0]
				faults = faults[1:]
				return f
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := p.Commit(ctx, &commit.Progress{Frontier: 2}); !errors.Is(err, errFakeDown) {
			t.Fatalf("commit = %v, want it to name the last error", err)
		}
		if tr := m.s.Report().Trouble; len(tr) != 1 || tr[0].What != "acknowledge "+stream("orders/0") {
			t.Fatalf("trouble = %v", tr)
		}
		// The acker retries without another commit.
		time.Sleep(time.Minute)
		if got := b.unacked(topic0); len(got) != 1 || got[0] != 2 {
			t.Errorf("unacknowledged = %v, want 2", got)
		}
		if tr := m.s.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		_ = p.Release(t.Context())
	})
}

func TestRestartAfterBrokerForgotBatchAcksKeepsOrder(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 6)...) // a batch
		b.produce(topic0, numbered(6, 7)...)
		read(t, p, 7)
		// Half of the batch is settled, and all messages behind it.
		stored := settle(t, p, 3, commit.Range{From: 6, To: 7})
		if stored != (commit.Stored{Frontier: 0, Replays: 4}) {
			t.Errorf("stored = %+v, want 4 replays from 0 on", stored)
		}
		if got := b.unacked(topic0); len(got) != 7 {
			t.Errorf("unacknowledged = %v, want all: message 6 has the key of 0", got)
		}
		if stored = settle(t, p, 7); stored != (commit.Stored{Frontier: 7}) {
			t.Errorf("stored = %+v, want everything", stored)
		}
		if got := b.unacked(topic0); len(got) != 0 {
			t.Errorf("unacknowledged = %v", got)
		}
		_ = p.Release(t.Context())
	})
}

// A message arrives below others that this owner has received. Nothing is acknowledged, and all are redelivered.
func TestStaleMessageEndsTheOwnershipWithoutLoss(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 4) {
			b.produce(topic0, msg)
		}
		read(t, p, 4)
		settle(t, p, 4)
		if err := p.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		p = m.accept()
		for _, msg := range numbered(4, 6) {
			b.produce(topic0, msg)
		}
		read(t, p, 2)
		b.forget(2, 0) // of the last owner
		b.change(b.topics[topic0].holder.rewind)
		batch := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := p.Fetch(soon(t), &batch); !errors.Is(err, source.ErrLeaving) {
			t.Fatalf("fetch = %v, %d messages", err, len(batch.Messages))
		}
		if l := left(t, p); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		if _, err := p.Commit(soon(t), &commit.Progress{Frontier: 6}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		_ = p.Release(t.Context())
		p = m.accept()
		if msgs := read(t, p, 6); string(msgs[0].Value) != "0" {
			t.Errorf("first message = %s, want 0", msgs[0].Value)
		}
		_ = p.Release(t.Context())
	})
}

// Until a broker has created the ledger of the cursor, it may forget how far the cursor moved and keep acknowledgements above.
func TestFirstAcknowledgementsMoveTheCursorOrStandAboveIt(t *testing.T) {
	ahead := []commit.Range{{From: 5, To: 7}}
	for name, c := range map[string]struct {
		frontiers   []int64
		first, last []int64 // not acknowledged
	}{
		"moves":                   {[]int64{4}, []int64{4, 5, 6, 7}, []int64{4, 7}},
		"stands, and moves later": {[]int64{0, 4}, []int64{0, 1, 2, 3, 4, 7}, []int64{4, 7}},
		"moves over all":          {[]int64{8}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				p := join(t, b, Config{}, "orders").accept()
				for n := range 8 {
					b.produce(topic0, numbered(n, n+1)...)
				}
				read(t, p, 8)
				var committing sync.WaitGroup
				for _, frontier := range c.frontiers {
					committing.Go(func() { settle(t, p, frontier, ahead...) })
					synctest.Wait()
					time.Sleep(time.Millisecond)
				}
				if got := b.unacked(topic0); !slices.Equal(got, c.first) {
					t.Errorf("first unacknowledged = %v, want %v", got, c.first)
				}
				committing.Wait()
				if got := b.unacked(topic0); !slices.Equal(got, c.last) {
					t.Errorf("unacknowledged after the commit = %v, want %v", got, c.last)
				}
				_ = p.Release(t.Context())
			})
		})
	}
}

func TestCandidateIsReplacedAfterAMissedElectionMessage(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.dropped = 1
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		_ = p.Release(t.Context())
	})
}

// A broker that elects again while it announces the last election may tell no candidate.
func TestPartitionIsOwnedAlthoughTheBrokerToldNoCandidate(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first := join(t, b, Config{Name: "z"}, "orders")
		p := first.accept()
		other, _, err := b.source(Config{Name: "a"}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		got := (&member{t: t, s: other}).accepting()
		left(t, p)
		_ = p.Release(t.Context())
		q := <-got
		if q == nil {
			return
		}
		again := make(chan source.Partition, 1)
		go func() {
			p, _ := first.s.Accept(t.Context())
			again <- p
		}()
		time.Sleep(10 * second)
		b.change(func() { b.dropped = 1 })
		_ = q.Release(t.Context())
		_ = other.Close()
		select {
		case p := <-again:
			_ = p.Release(t.Context())
		case <-time.After(5 * time.Minute):
			t.Fatal("no process owns the partition")
		}
	})
}

func TestOwnershipEndsInOrderWhenTheBrokerStopsNumbering(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		if msgs := read(t, p, 1); msgs[0].Offset != 0 {
			t.Fatalf("offset %d, want the index", msgs[0].Offset)
		}
		b.change(func() { b.index = false })
		b.produce(topic0, numbered(1, 2)...)
		if err := p.Fetch(soon(t), &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}); !errors.Is(err, source.ErrLeaving) {
			t.Fatal(err)
		}
		if l := left(t, p); l.Lost {
			t.Error("lost, want revoked: settled messages must be committed")
		}
		settle(t, p, 1)
		_ = p.Release(t.Context())
		p = m.accept()
		if msgs := read(t, p, 1); string(msgs[0].Value) != "1" || msgs[0].Offset < 1<<36 {
			t.Errorf("message %s at offset %d, want 1, packed", msgs[0].Value, msgs[0].Offset)
		}
		_ = p.Release(t.Context())
	})
}

func TestStoreKeepsBatchesExact(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		store := newMemStore()
		m := join(t, b, Config{Store: store}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 6)...)
		b.produce(topic0, numbered(6, 7)...)
		msgs := read(t, p, 7)
		stored := settle(t, p, msgs[3].Offset, commit.Range{From: msgs[6].Offset, To: msgs[6].Offset + 1})
		if stored != (commit.Stored{Frontier: msgs[3].Offset}) {
			t.Errorf("stored = %+v", stored)
		}
		_ = p.Release(t.Context())
		q := m.accept()
		if r := q.Restored(); r.Frontier != msgs[3].Offset || len(r.Ahead) != 1 || r.Epoch != q.ID().Epoch || r.Epoch <= p.ID().Epoch {
			t.Fatalf("restored = %+v, after %v", r, p.ID())
		}
		// The whole batch is delivered. Fetch skips messages below the frontier.
		if got := read(t, q, 4); got[0].Offset != msgs[3].Offset {
			t.Errorf("first offset = %d, want %d", got[0].Offset, msgs[3].Offset)
		}
		// Another process claims the partition.
		if _, err := store.Claim(t.Context(), stream("orders"), 0, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Commit(soon(t), &commit.Progress{Frontier: msgs[6].Offset + 1}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		if l := left(t, q); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		_ = q.Release(t.Context())
	})
}

func TestConfigReturnsAllErrorsAtOnce(t *testing.T) {
	_, err := New("http://x", "", []string{"a", "a", "", "non-persistent://public/default/x"}, Config{
		BusyTimeout: -1, ChunkTimeout: -1, ReceiverQueueSize: -1, Offsets: 9, Start: At(time.Unix(-1, 0)), AdminURL: "http://x",
		Authentication: OAuth2(map[string]string{"type": "nonsense"}),
	})
	for _, text := range []string{
		"pulsar://host:6650", "no subscription", `"a" is given twice`, "is empty", "keeps no messages", "BusyTimeout", "ChunkTimeout",
		"ReceiverQueueSize", "Offsets 9", "set Config.Alone", "before 1970", "AdminURL", "Authentication",
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("New = %v, want it to contain %q", err, text)
		}
	}
}

func TestPackedOffsetsAscendAndReportOverflow(t *testing.T) {
	last := int64(-1)
	for _, p := range []ack.Position{{Ledger: 0, Entry: 0, Batch: 0}, {Ledger: 0, Entry: 0, Batch: 1}, {Ledger: 0, Entry: 0, Batch: 4095}, {Ledger: 0, Entry: 1, Batch: 0}, {Ledger: 1, Entry: 0, Batch: 0}, {Ledger: 1<<27 - 1, Entry: 1<<24 - 1, Batch: 4095}} {
		o, err := pack(p)
		if err != nil || o <= last {
			t.Errorf("pack(%v) = %d, %v; want more than %d", p, o, err, last)
		}
		last = o
	}
	for _, p := range []ack.Position{{Ledger: 1 << 27, Entry: 0, Batch: 0}, {Ledger: 0, Entry: 1 << 24, Batch: 0}, {Ledger: 0, Entry: 0, Batch: 1 << 12}, {Ledger: -1, Entry: 0, Batch: 0}} {
		if _, err := pack(p); err == nil || !strings.Contains(err.Error(), "OffsetsIndex") {
			t.Errorf("pack(%v) = %v", p, err)
		}
	}
}
