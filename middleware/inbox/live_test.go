package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/middleware/inbox"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

func TestLiveSeenReportsAMessageThatWasCommittedBefore(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b, m := db.inbox(t, "payments"), message()
		tx := db.begin(t, nil)
		ctx := keystrand.WithLog(t.Context(), "log")
		for i, want := range []bool{false, true} { // the second time in the same transaction
			if seen, err := b.Seen(ctx, tx, &m); err != nil || seen != want {
				t.Errorf("call %d in a transaction: %v, %v; want %v", i+1, seen, err, want)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if db.seen(t, b, "log", m) {
			t.Error("seen after a rollback: its effect was rolled back, too")
		}
		m.Epoch, m.Attempt, m.Value = 8, 3, []byte("v") // the next owner's attempt
		for range 3 {
			if !db.seen(t, b, "log", m) {
				t.Error("not seen after a commit")
			}
		}
		if n := db.count(t, "SELECT repeats FROM keystrand_inbox"); n != 3 {
			t.Errorf("%d repeats in the table, want 3", n)
		}
	})
}

func TestLiveEachPartOfTheIdentityCounts(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b := db.inbox(t, "payments")
		if db.seen(t, b, "log", message()) {
			t.Error("seen at first")
		}
		for name, change := range map[string]func(*keystrand.Message){
			"stream":            func(m *keystrand.Message) { m.Stream = "Orders" },
			"stream of bytes":   func(m *keystrand.Message) { m.Stream = "orders\x00\xff" },
			"long stream":       func(m *keystrand.Message) { m.Stream = strings.Repeat("s", 1<<20) },
			"partition":         func(m *keystrand.Message) { m.Partition = -1 },
			"offset":            func(m *keystrand.Message) { m.Offset = 43 },
			"largest offset":    func(m *keystrand.Message) { m.Offset = 1<<63 - 1 },
			"time":              func(m *keystrand.Message) { m.Time = m.Time.Add(1) },
			"no time":           func(m *keystrand.Message) { m.Time = time.Time{} },
			"time far away":     func(m *keystrand.Message) { m.Time = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) },
			"time before it is": func(m *keystrand.Message) { m.Time = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC) },
		} {
			m := message()
			change(&m)
			if db.seen(t, b, "log", m) {
				t.Errorf("%s: another message is seen", name)
			}
			if !db.seen(t, b, "log", m) {
				t.Errorf("%s: the same message is not seen", name)
			}
		}
		for _, log := range []string{"", "LOG", "log made again"} {
			if db.seen(t, b, log, message()) {
				t.Errorf("log %q: a message of another log is seen", log)
			}
		}
		for _, consumer := range []string{"Payments", "payments ", "payments\x00\xff", strings.Repeat("p", 255)} {
			if other := db.inbox(t, consumer); db.seen(t, other, "log", message()) || !db.seen(t, other, "log", message()) {
				t.Errorf("consumer %.20q is not told apart", consumer)
			}
		}
	})
}

// Two owners of a partition, of which one goes on after it has lost it.
func TestLiveSeenWaitsForATransactionWithTheSameMessage(t *testing.T) {
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprintf("the first commits %v", commits), func(t *testing.T) {
			onEach(t, func(t *testing.T, db database) {
				t.Helper()
				b, m := db.inbox(t, "payments"), message()
				ctx := keystrand.WithLog(t.Context(), "log")
				first := db.begin(t, nil)
				if seen, err := b.Seen(ctx, first, &m); err != nil || seen {
					t.Fatalf("first: %v, %v", seen, err)
				}
				var ended atomic.Bool
				result := make(chan error)
				second := db.begin(t, nil)
				go func() {
					seen, err := b.Seen(ctx, second, &m)
					switch {
					case err != nil:
					case !ended.Load():
						err = errors.New("the second did not wait")
					case seen != commits:
						err = fmt.Errorf("the second has seen the message: %v, want %v", seen, commits)
					}
					result <- errors.Join(err, second.Commit())
				}()
				time.Sleep(200 * time.Millisecond) // real time: only the server knows that a transaction waits
				ended.Store(true)
				end := first.Rollback
				if commits {
					end = first.Commit
				}
				if err := errors.Join(end(), <-result); err != nil {
					t.Error(err)
				}
				if !db.seen(t, b, "log", m) {
					t.Error("not seen after both")
				}
			})
		})
	}
}

func TestLiveSeenEndsWithItsContextWhileItWaits(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b, m := db.inbox(t, "payments"), message()
		first, second := db.begin(t, nil), db.begin(t, nil)
		ctx := keystrand.WithLog(t.Context(), "log")
		if _, err := b.Seen(ctx, first, &m); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if seen, err := b.Seen(short, second, &m); err == nil || seen || !strings.Contains(err.Error(), "orders/3@42") {
			t.Errorf("Seen = %v, %v; want an error that names the message", seen, err)
		}
	})
}

// Whatever the isolation, an effect is applied once, and who fails can try again.
func TestLiveManyTransactionsApplyAnEffectOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
			b := db.inbox(t, "payments "+level.String())
			ctx := keystrand.WithLog(t.Context(), "log")
			run(t, db.DB, "DELETE FROM effects")
			const messages, owners = 20, 8
			var all sync.WaitGroup
			var retried atomic.Int64
			for owner := range owners {
				all.Go(func() {
					for offset := range int64(messages) {
						for {
							err := apply(ctx, db, b, offset, &sql.TxOptions{Isolation: level}, owner%3 == 1)
							if err == nil {
								break
							}
							if retried.Add(1) > 10_000 {
								t.Errorf("%v: gave up: %v", level, err)
								return
							}
						}
					}
				})
			}
			all.Wait()
			t.Logf("%v: %d attempts failed", level, retried.Load())
			if n, distinct := db.count(t, "SELECT count(*) FROM effects"), db.count(t, "SELECT count(DISTINCT message_offset) FROM effects"); n != messages || distinct != messages {
				t.Errorf("%v: %d effects of %d messages, want %d of each", level, n, distinct, messages)
			}
		}
	})
}

var errCrash = errors.New("crashed before the commit")

// apply is a handler. It may crash once in a while.
func apply(ctx context.Context, db database, b *inbox.Inbox, offset int64, o *sql.TxOptions, crashes bool) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	m := message()
	m.Offset = offset
	if seen, err := b.Seen(ctx, tx, &m); err != nil || seen {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO effects VALUES (%d)", offset)); err != nil {
		return err
	}
	if crashes && time.Now().UnixNano()%2 == 0 {
		return errCrash
	}
	return tx.Commit()
}

func TestLivePruneDeletesOldRecordsOfItsConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b, other := db.inbox(t, "payments"), db.inbox(t, "other")
		m := message()
		for m.Offset = range 25 {
			db.seen(t, b, "log", m)
			db.seen(t, other, "log", m)
		}
		run(t, db.DB, "UPDATE keystrand_inbox SET seen_at = seen_at - 3600 WHERE message_offset < 15")
		for _, want := range []int64{10, 5, 0} {
			if n, err := b.Prune(t.Context(), db.DB, 30*time.Minute, 10); err != nil || n != want {
				t.Errorf("Prune = %d, %v; want %d", n, err, want)
			}
		}
		if n := db.count(t, "SELECT count(*) FROM keystrand_inbox"); n != 10+25 {
			t.Errorf("%d records are left, want 10 and the 25 of another consumer", n)
		}
		m.Offset = 14
		if db.seen(t, b, "log", m) {
			t.Error("a pruned message is seen")
		}
		if m.Offset = 15; !db.seen(t, b, "log", m) {
			t.Error("a message that was not pruned is not seen")
		}
	})
}

// Prune and handlers do not wait for each other.
func TestLivePruneLeavesTransactionsAlone(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b, m := db.inbox(t, "payments"), message()
		for m.Offset = range 10 {
			db.seen(t, b, "log", m)
		}
		run(t, db.DB, "UPDATE keystrand_inbox SET seen_at = seen_at - 3600")
		ctx, cancel := context.WithTimeout(keystrand.WithLog(t.Context(), "log"), 10*time.Second)
		defer cancel()
		tx := db.begin(t, nil)
		m.Offset = 100 // a new message, whose transaction stays open
		if _, err := b.Seen(ctx, tx, &m); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Prune(ctx, db.DB, time.Minute, 100); err != nil || n != 10 {
			t.Errorf("Prune = %d, %v; want 10", n, err)
		}
	})
}

func TestLiveSeenSaysWhatToDoWithoutATable(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		run(t, db.DB, "DROP TABLE keystrand_inbox")
		m := message()
		_, err := db.inbox(t, "payments").Seen(keystrand.WithLog(t.Context(), "log"), db.begin(t, nil), &m)
		if err == nil || !strings.Contains(err.Error(), "inbox.Schema") {
			t.Errorf("%v, want an error that names inbox.Schema", err)
		}
	})
}

// A pipeline that crashes before its commits handles messages again. The topic is then made again, with the same offsets.
func TestLivePipelineAppliesEachEffectOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		b := db.inbox(t, "payments")
		log := memory.NewLog("orders", 2)
		const messages = 100
		fill := func() {
			for i := range messages {
				log.Append(int32(i%2), keystrand.Message{Key: fmt.Append(nil, "k", i%7)}) // without a time
			}
		}
		var calls atomic.Int64
		pass := func(group string) { // a group that has committed nothing, as after a crash
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			calls.Store(0)
			p, err := pipeline.From(memory.NewSource(memory.Config{Group: group}, log)).
				Use(middleware.Retry(middleware.RetryPolicy{}), middleware.Timeout(10*time.Second)).
				HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
					if err := effect(ctx, db, b, m); err != nil {
						return err
					}
					if calls.Add(1) == messages {
						cancel()
					}
					return nil
				}).Build()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(ctx); err != nil {
				t.Fatal(err)
			}
		}
		fill()
		for i := range 3 {
			pass(fmt.Sprint("pass", i))
			if n := db.count(t, "SELECT count(*) FROM effects"); n != messages || calls.Load() != messages {
				t.Errorf("pass %d: %d calls, %d effects; want %d of each", i, calls.Load(), n, messages)
			}
		}
		log.Recreate()
		fill()
		for i := range 2 {
			pass(fmt.Sprint("again", i))
			if n := db.count(t, "SELECT count(*) FROM effects"); n != 2*messages {
				t.Errorf("topic made again, pass %d: %d effects, want %d", i, n, 2*messages)
			}
		}
	})
}

func effect(ctx context.Context, db database, b *inbox.Inbox, m *keystrand.Message) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if seen, err := b.Seen(ctx, tx, m); err != nil || seen {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO effects VALUES (%d)", m.Offset)); err != nil {
		return err
	}
	return tx.Commit()
}

// BenchmarkSeen measures a transaction that records a message and nothing else, from one connection.
func BenchmarkSeen(b *testing.B) {
	for _, d := range []inbox.Dialect{inbox.PostgreSQL, inbox.MariaDB} {
		b.Run(map[inbox.Dialect]string{inbox.PostgreSQL: "PostgreSQL", inbox.MariaDB: "MariaDB"}[d], func(b *testing.B) {
			db := newDatabase(b, d)
			box, m := db.inbox(b, "payments"), message()
			for b.Loop() {
				m.Offset++
				db.seen(b, box, "log", m)
			}
		})
	}
}
