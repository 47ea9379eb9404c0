// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

// offset returns the packed offset of a message of the fake's first topic.
func offset(t *testing.T, entry int64, batch int32) int64 {
	t.Helper()
	o, err := pack(ack.Position{Ledger: 11, Entry: entry, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestStoredProgressCountsOnlyForItsOwnLog(t *testing.T) {
	const old = int64(5000) << (entryBits + batchBits) // of a cluster with more ledgers
	for _, c := range []struct {
		name   string
		cfg    Config
		stored commit.Progress
		late   bool // the log is empty when the partition is attached
		first  string
		says   []string
	}{
		{name: "ours", stored: commit.Progress{Log: "fake:6650", Frontier: offset(t, 2, 0)}, first: "2"},
		{name: "unnamed", stored: commit.Progress{Frontier: offset(t, 2, 0)}, first: "2"},
		{name: "of Config.Cluster", cfg: Config{Cluster: "west"}, stored: commit.Progress{Log: "west", Frontier: offset(t, 2, 0)}, first: "2"},
		{name: "to the last message", stored: commit.Progress{Log: "fake:6650", Frontier: offset(t, 3, 2) + 1}},
		{
			name: "of another cluster", stored: commit.Progress{Log: "elsewhere:6650", Frontier: offset(t, 2, 0)}, first: "0",
			says: []string{"stream=" + stream("orders"), "partition=0", "subscription=billing", "stored_cluster=elsewhere:6650", " cluster=fake:6650"},
		},
		{
			name: "of another Config.Cluster", cfg: Config{Cluster: "west"}, stored: commit.Progress{Log: "fake:6650", Frontier: offset(t, 2, 0)},
			first: "0", says: []string{"stored_cluster=fake:6650", " cluster=west"},
		},
		{
			name: "behind the last message", stored: commit.Progress{Log: "fake:6650", Frontier: old}, first: "0",
			says: []string{"stream=" + stream("orders"), "behind the last message"},
		},
		{
			name: "ahead behind the last message", stored: commit.Progress{Frontier: offset(t, 2, 0), Ahead: []commit.Range{{From: old, To: old + 1}}},
			first: "0", says: []string{"behind the last message"},
		},
		{name: "of a log that was not empty", late: true, stored: commit.Progress{Frontier: old}, first: "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				var told journal
				store := newMemStore()
				c.stored.Epoch, c.stored.At = 7, "a place"
				store.saved[stream("orders/0")] = c.stored
				cfg := c.cfg
				cfg.Store, cfg.Logger = store, slog.New(slog.NewTextHandler(&told, nil))
				fill := func() {
					for _, msg := range numbered(0, 3) {
						b.produce(topic0, msg)
					}
					b.produce(topic0, numbered(3, 6)...)
				}
				if !c.late {
					fill()
				}
				m := join(t, b, cfg, "orders")
				p := m.accept()
				if c.late {
					fill()
				}
				r := p.Restored()
				if used := r.Frontier != 0; used != (c.first != "0") || r.Log != m.s.cluster() || r.Epoch <= 7 || !used && len(r.Ahead) > 0 || (r.At == "a place") != used {
					t.Errorf("restored = %+v", r)
				}
				elsewhere := c.stored.Log != "" && c.stored.Log != m.s.cluster()
				if kept := store.at(stream("orders"), 0).Frontier != 0; kept != (c.first != "0" || elsewhere) {
					t.Errorf("stored = %+v", store.at(stream("orders"), 0))
				}
				var next, left int64 = 6, 0
				if c.first == "" {
					nothing(t, p)
				} else {
					msgs := read(t, p, 1)
					if string(msgs[0].Value) != c.first {
						t.Errorf("first message = %s, want %s", msgs[0].Value, c.first)
					}
					next = int64(c.first[0] - '0')
					left = 6 - next
				}
				// Messages that it settles are acknowledged again, others are not.
				time.Sleep(second)
				if got := b.unacked(topic0); int64(len(got)) != left || left > 0 && got[0] != next {
					t.Errorf("unacknowledged = %v, want from %d on", got, next)
				}
				warned := strings.Contains(told.String(), "ignoring stored progress")
				if warned != (len(c.says) > 0) {
					t.Errorf("logged %s", told.String())
				}
				for _, text := range c.says {
					if !strings.Contains(told.String(), text) {
						t.Errorf("logged %s, want %q", told.String(), text)
					}
				}
				end := offset(t, 3, 2) + 1
				if _, err := p.Commit(t.Context(), &commit.Progress{Frontier: end, At: "another place"}); err != nil {
					t.Fatal(err)
				}
				if got := store.at(stream("orders"), 0); got.Log != m.s.cluster() || got.Epoch != p.ID().Epoch || got.Frontier != end || got.At != "another place" {
					t.Errorf("stored %+v by %v", got, p.ID())
				}
				_ = p.Release(t.Context())
			})
		})
	}
}

// Stored progress names the cluster, not the topic. A cluster never reuses a ledger id.
func TestOldProgressSkipsNothingOfARecreatedTopic(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{Store: newMemStore()}, "orders")
		p := m.accept()
		for _, msg := range numbered(0, 5) {
			b.produce(topic0, msg)
		}
		msgs := read(t, p, 5)
		settle(t, p, msgs[1].Offset, commit.Range{From: msgs[3].Offset, To: msgs[4].Offset})
		_ = p.Release(t.Context())
		b.recreate("orders")
		for _, msg := range numbered(100, 105) {
			b.produce(topic0, msg)
		}
		q := m.accept()
		for i, msg := range read(t, q, 5) {
			if want := fmt.Sprint(100 + i); string(msg.Value) != want || q.Restored().Settled(msg.Offset) {
				t.Errorf("message %s at offset %d, want %s, unsettled", msg.Value, msg.Offset, want)
			}
		}
		time.Sleep(second)
		if got := b.unacked(topic0); len(got) != 5 {
			t.Errorf("unacknowledged = %v, want all", got)
		}
		_ = q.Release(t.Context())
	})
}

func TestClusterNameDefaultsToTheHostsOfTheURL(t *testing.T) {
	for url, want := range map[string]string{
		"pulsar://b:6650,A:6650": "a:6650,b:6650",
		"pulsar+ssl://a:6651/":   "a:6651",
	} {
		s, err := New(url, "billing", []string{"orders"}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.cluster(); got != want {
			t.Errorf("cluster of %s = %s, want %s", url, got, want)
		}
	}
}

func TestCommitRefusesALowerFrontier(t *testing.T) {
	for _, store := range []commit.Store{nil, newMemStore()} {
		inBubble(t, func(w world) {
			t, b := w.t, w.b
			m := join(t, b, Config{Store: store}, "orders")
			p := m.accept()
			for _, msg := range numbered(0, 3) {
				b.produce(topic0, msg)
			}
			msgs := read(t, p, 3)
			settle(t, p, msgs[2].Offset)
			if _, err := p.Commit(t.Context(), &commit.Progress{Frontier: msgs[1].Offset}); err == nil || !strings.Contains(err.Error(), "decreases") {
				t.Errorf("commit of an earlier frontier = %v", err)
			}
			settle(t, p, msgs[2].Offset)
			_ = p.Release(t.Context())
		})
	}
}

func TestFailingStoreIsLoggedAndRetriedWithBackoff(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		store := newMemStore()
		down := errors.New("no space left")
		var asked atomic.Int64
		store.claims(func(context.Context) error {
			asked.Add(1)
			return down
		})
		m := join(t, b, Config{Store: store, Name: "m"}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		tr := m.s.Report().Trouble
		if len(tr) != 1 || tr[0].What != "claim "+stream("orders/0") || !errors.Is(tr[0].Err, down) || !strings.Contains(tr[0].Err.Error(), "billing") {
			t.Errorf("trouble = %v", tr)
		}
		if n := asked.Load(); n < 10 || n > 60 {
			t.Errorf("%d claims in a minute", n)
		}
		// A process that lost the election has no trouble.
		got := accepting(t.Context(), m)
		other := join(t, b, Config{Store: newMemStore(), Name: "a"}, "orders")
		p := other.accept()
		time.Sleep(10 * second)
		if tr := m.s.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		store.claims(nil)
		_ = p.Release(t.Context())
		_ = other.s.Close()
		_ = (<-got).Release(t.Context())
	})
}

func TestHangingStoreTimesOutAndIsLogged(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		store := newMemStore()
		var claims atomic.Int64
		store.claims(func(ctx context.Context) error {
			begin := time.Now()
			<-ctx.Done()
			if d := time.Since(begin); d > 10*second {
				t.Errorf("a claim took %v, want OperationTimeout", d)
			}
			claims.Add(1)
			return context.Cause(ctx)
		})
		m := join(t, b, Config{Store: store}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if tr := m.s.Report().Trouble; len(tr) != 1 || tr[0].What != "claim "+stream("orders/0") || !strings.Contains(tr[0].Err.Error(), "no answer within 10s") {
			t.Errorf("trouble = %v", tr)
		}
		if n := claims.Load(); n < 3 {
			t.Errorf("%d claims have ended in a minute", n)
		}
		store.claims(nil)
		_ = m.accept().Release(t.Context())
	})
}

func TestLockIsFreeBetweenRetriesOfAFailingStore(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.delay = 100 * time.Millisecond
		store := newMemStore()
		var asked atomic.Int64
		late := make(chan struct{}) // by then retries are seconds apart
		store.claims(func(context.Context) error {
			if asked.Add(1) == 30 {
				close(late)
			}
			return errors.New("no space left")
		})
		m := join(t, b, Config{Store: store, Name: "m"}, "orders")
		got := accepting(soon(t), m)
		<-late
		synctest.Wait()
		b.mu.Lock()
		held := b.topics[topic0].holder != nil
		b.mu.Unlock()
		if held {
			t.Error("the lock is held until the next retry")
		}
		begin := time.Now()
		other := join(t, b, Config{Store: newMemStore(), Name: "a"}, "orders")
		p := other.accept()
		if d := time.Since(begin); d > second {
			t.Errorf("another process accepted after %v", d)
		}
		store.claims(nil)
		_ = p.Release(t.Context())
		_ = other.s.Close()
		_ = (<-got).Release(t.Context())
	})
}

func TestHangingStoreKeepsNoLockFromTheNextOwner(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		store, hanging := newMemStore(), newMemStore()
		hanging.claims(func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		var told journal
		log := slog.New(slog.NewTextHandler(&told, nil))
		m := join(t, b, Config{Store: hanging, Name: "m", OperationTimeout: time.Hour, Logger: log}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		other := join(t, b, Config{Store: store, Name: "a"}, "orders")
		begin := time.Now()
		p := other.accept()
		if d := time.Since(begin); d > 5*second {
			t.Errorf("accepted after %v", d)
		}
		if strings.Contains(told.String(), "operation failed; retrying") {
			t.Errorf("the store had no time to answer; logged %s", told.String())
		}
		_ = p.Release(t.Context())
	})
}

func TestClaimEndsWithTheConnectionOfItsLock(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		store, asked := newMemStore(), make(chan struct{}, 1)
		store.claims(func(ctx context.Context) error {
			asked <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		m := join(t, b, Config{Store: store, Alone: true, OperationTimeout: time.Hour}, "orders")
		got := m.accepting()
		<-asked
		store.claims(nil)
		begin := time.Now()
		b.cut(topic0, "")
		p := <-got
		if d := time.Since(begin); p == nil || d > second {
			t.Fatalf("accepted %v after %v, want the claim to end at once: another process may have the lock", p, d)
		}
		_ = p.Release(t.Context())
	})
}
