package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

// appending appends records to three keys, three offsets an Append, until a call fails.
type appending struct {
	l    spill.Log
	next int64        // the first offset that was not reported as durable
	done atomic.Int64 // Appends
}

func (a *appending) once(ctx context.Context) error {
	var rs []spill.Record
	for offset := a.next; offset < a.next+3; offset++ {
		rs = append(rs, record(fmt.Sprint("key-", offset%3), offset))
	}
	if err := a.l.Append(ctx, rs); err != nil {
		return err
	}
	a.next += 3
	a.done.Add(1)
	return nil
}

func (a *appending) run(ctx context.Context) error {
	for {
		if err := a.once(ctx); err != nil {
			return err
		}
	}
}

// holds fails t unless the store has exactly the offsets below the end, or also those of one Append behind it.
func holds(t *testing.T, l spill.Log, strands []spill.Strand, end int64) {
	t.Helper()
	counted := make(map[string]int64)
	for _, s := range strands {
		counted[s.Key] = s.Records
	}
	for k := range int64(3) {
		key := fmt.Sprint("key-", k)
		ms, err := l.Read(t.Context(), key, -1, spill.Size{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range ms {
			if want := int64(i)*3 + k; ms[i].Offset != want {
				t.Fatalf("%s: offset %d follows %d records, want %d", key, ms[i].Offset, i, want)
			}
		}
		if n := int64(len(ms)); n < end/3 || n > end/3+1 || n != counted[key] {
			t.Fatalf("%s has %d records, was counted with %d, and %d were reported as durable", key, n, counted[key], end/3)
		}
	}
}

// What was reported as durable is there after the server was killed, once, and the store goes on without a new *sql.DB.
func TestLiveAppendedRecordsSurviveAKilledServer(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		s := db.store(t, "killed")
		o := owner
		a := &appending{l: open(t, s, o)}
		for range 3 {
			failed := make(chan error)
			go func() { failed <- a.run(t.Context()) }()
			for n := a.done.Load(); a.done.Load() < n+10; {
				time.Sleep(time.Millisecond) // real time: a server has no virtual time
			}
			control(t, db.dialect, "kill")
			err := <-failed
			if err == nil || errors.Is(err, commit.ErrFenced) || errors.Is(err, spill.ErrUnusable) {
				t.Errorf("Append without a server = %v, want an ordinary error", err)
			}
			control(t, db.dialect, "start")
			o.Epoch++
			l, strands, err := s.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, l, strands, a.next)
			a.l = l
			if err := a.once(t.Context()); err != nil { // what was under way
				t.Fatal(err)
			}
		}
	})
}

// Calls end with their ctx while the server does not answer, in whichever statement they are, COMMIT too. Whatever was under way
// is stored once when it is appended again.
func TestLiveCallsEndWithTheirContextWhileTheServerIsFrozen(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		s := db.store(t, "frozen")
		l := open(t, s, owner)
		a := &appending{l: l}
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		t.Logf("seed %d", seed)
		for range 8 {
			func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				failed := make(chan error)
				go func() { failed <- a.run(ctx) }()
				time.Sleep(time.Duration(1+rnd.IntN(20)) * time.Millisecond) // real time: any statement may be the one
				control(t, db.dialect, "pause")
				defer control(t, db.dialect, "resume")
				go func() { _, err := l.Read(ctx, "key-1", -1, spill.Size{}); failed <- err }()
				go func() { failed <- l.Save(ctx, []spill.Mark{{Key: "none", Through: 1}}) }()
				go func() { _, _, err := s.Open(ctx, spill.Owner{Stream: "another", Epoch: 1}); failed <- err }()
				cancel()
				for range 4 { // the test hangs here if one waits for the server
					if err := <-failed; err == nil || errors.Is(err, spill.ErrUnusable) || errors.Is(err, commit.ErrFenced) {
						t.Errorf("a call without a server = %v, want an ordinary error", err)
					}
				}
			}()
			if err := a.once(t.Context()); err != nil {
				t.Fatalf("append again: %v", err)
			}
		}
		o := owner
		o.Epoch++
		l, strands, err := s.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		holds(t, l, strands, a.next)
	})
}

// An owner that has passed all its checks must not store behind the next Open: Append waits for an Open that has not committed
// yet, and sees it then. Open waits for a transaction that has begun, and counts what it stored.
func TestLiveTransactionsOfAPartitionWaitForEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t)
		s := db.store(t, "locked")
		l := open(t, s, owner)
		if err := l.Append(t.Context(), []spill.Record{record("a", 1)}); err != nil {
			t.Fatal(err)
		}

		tx := lockedBy(t, pool, "UPDATE keystrand_spill_partitions SET claim = claim + 1")
		appended := make(chan error, 1)
		go func() { appended <- l.Append(t.Context(), []spill.Record{record("a", 2)}) }()
		awaitLock(t, pool, db.dialect, func() bool { return len(appended) > 0 })
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-appended; !errors.Is(err, commit.ErrFenced) {
			t.Errorf("Append that began before the Open of another = %v, want ErrFenced", err)
		}

		tx = lockedBy(t, pool, "SELECT claim FROM keystrand_spill_partitions FOR UPDATE", "UPDATE keystrand_spill_strands SET high_offset = 9")
		type opened struct {
			strands []spill.Strand
			err     error
		}
		done := make(chan opened, 1)
		go func() {
			o := owner
			o.Epoch++
			_, strands, err := s.Open(t.Context(), o)
			done <- opened{strands, err}
		}()
		awaitLock(t, pool, db.dialect, func() bool { return len(done) > 0 })
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got.err != nil || len(got.strands) != 1 || got.strands[0].High != 9 || got.strands[0].Records != 1 {
			t.Errorf("Open during a transaction = %+v, %v; want the strand with what the transaction stored", got.strands, got.err)
		}
	})
}

// A machine that loses its power within a transaction must not hold the lock until TCP gives up. The pool's other users keep
// their own setting.
func TestLiveSilentTransactionsEnd(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t)
		pool.SetMaxOpenConns(1)
		l := open(t, newStore(t, pool, db.dialect, "silent"), owner)
		show, want := "SHOW idle_in_transaction_session_timeout", "10s"
		if db.dialect == spillsql.MariaDB {
			show, want = "SELECT CONCAT(@@SESSION.idle_transaction_timeout, ' ', @@SESSION.tx_isolation)", "10 REPEATABLE-READ" // the session's, not the transaction's
		}
		var before, within, after string
		if err := pool.QueryRowContext(t.Context(), show).Scan(&before); err != nil {
			t.Fatal(err)
		}
		err := spillsql.Locked(t.Context(), l, func(c *sql.Conn) error { return c.QueryRowContext(t.Context(), show).Scan(&within) })
		if err != nil {
			t.Fatal(err)
		}
		if err := pool.QueryRowContext(t.Context(), show).Scan(&after); err != nil {
			t.Fatal(err)
		}
		if within != want || after != before || before == want {
			t.Errorf("the timeout is %q before a transaction, %q in it, %q after it; want %q in it alone", before, within, after, want)
		}
	})
}

// The isolation is the store's, whatever the connections of the program have, and theirs again after it.
func TestLiveTransactionsReadWhatIsCommitted(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		show, parameter := "SELECT lower(current_setting('transaction_isolation'))", "&default_transaction_isolation=serializable"
		if db.dialect == spillsql.MariaDB {
			show, parameter = "SELECT LOWER(trx_isolation_level) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()", "?tx_isolation=%27SERIALIZABLE%27"
		}
		db.url += parameter
		pool := db.pool(t)
		pool.SetMaxOpenConns(1)
		l := open(t, newStore(t, pool, db.dialect, "isolated"), owner)
		var within, after string
		err := spillsql.Locked(t.Context(), l, func(c *sql.Conn) error { return c.QueryRowContext(t.Context(), show).Scan(&within) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // real time: MariaDB caches what it says of transactions for 100 ms
		tx := lockedBy(t, pool, "SELECT claim FROM keystrand_spill_partitions")
		if err := errors.Join(tx.QueryRowContext(t.Context(), show).Scan(&after), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		if within != "read committed" || after != "serializable" {
			t.Errorf("the isolation is %q in a transaction of the store and %q after it, want read committed and serializable", within, after)
		}
	})
}

// lockedBy runs statements in a transaction that stays open.
func lockedBy(t *testing.T, pool *sql.DB, statements ...string) *sql.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range statements {
		if _, err := tx.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

// awaitLock returns when a session waits for a lock. It fails t if the call has returned instead.
func awaitLock(t *testing.T, pool *sql.DB, d spillsql.Dialect, returned func() bool) {
	t.Helper()
	q := "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%keystrand_spill_partitions%'"
	if d == spillsql.MariaDB {
		q = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
	}
	for n := 0; n == 0; {
		time.Sleep(50 * time.Millisecond) // real time: the database says when it waits; MariaDB caches it for 100 ms
		if err := pool.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if returned() {
			t.Fatal("the call returned instead of waiting for the lock")
		}
	}
}

// A pool of one connection is slow, and not a deadlock: a call that holds a connection waits for no other connection.
func TestLiveOneConnectionIsEnough(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t)
		pool.SetMaxOpenConns(1)
		s := newStore(t, pool, db.dialect, "small")
		failed := make(chan error)
		for p := range int32(4) {
			o := spill.Owner{Stream: "orders", Partition: p, Epoch: 1}
			l := open(t, s, o)
			go func() {
				for i := range int64(40) {
					r := record("a", i/2) // each twice
					r.Message.Partition = p
					if err := l.Append(t.Context(), []spill.Record{r}); err != nil {
						failed <- err
						return
					}
				}
				ms, err := l.Read(t.Context(), "a", -1, spill.Size{})
				if err == nil && len(ms) != 20 {
					err = fmt.Errorf("partition %d has %d records, want 20", p, len(ms))
				}
				failed <- err
			}()
		}
		for range 4 {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLiveUnusableTablesAreAnErrorThatSaysWhatToDo(t *testing.T) {
	for _, service := range services() {
		t.Run(service.dialect.String(), func(t *testing.T) {
			other := spillsql.PostgreSQL
			if service.dialect == other {
				other = spillsql.MariaDB
			}
			for name, c := range map[string]struct {
				dialect    spillsql.Dialect
				withTables bool
				statements []string
				want       string
			}{
				"no tables":           {service.dialect, false, nil, "Schema"},
				"a table is missing":  {service.dialect, true, []string{"DROP TABLE keystrand_spill_records"}, "3 of the 4 tables"},
				"another layout":      {service.dialect, true, []string{"UPDATE keystrand_spill_layout SET version = 2"}, "layout 2"},
				"no layout":           {service.dialect, true, []string{"DELETE FROM keystrand_spill_layout"}, "0 rows"},
				"another dialect":     {other, true, nil, service.dialect.String()},
				"the strand is wrong": {service.dialect, true, []string{"UPDATE keystrand_spill_strands SET strand_key = 'b'"}, "cannot be read"},
			} {
				t.Run(name, func(t *testing.T) {
					db := service.newDatabase(t, c.withTables)
					pool := db.pool(t)
					if c.withTables {
						l := open(t, newStore(t, pool, db.dialect, "unusable"), owner)
						if err := l.Append(t.Context(), []spill.Record{record("a", 1)}); err != nil {
							t.Fatal(err)
						}
					}
					for _, q := range c.statements {
						exec1(t, pool, q)
					}
					_, _, err := newStore(t, pool, c.dialect, "unusable").Open(t.Context(), owner)
					if !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `orders/3: store "unusable"`) {
						t.Errorf("Open = %v, want ErrUnusable with %q, partition and store", err, c.want)
					}
				})
			}
		})
	}
}

func TestLiveTablesThatChangeWhileTheyAreUsedAreAnError(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		call      func(ctx context.Context, l spill.Log) error
		want      string
	}{
		"table dropped": {
			"DROP TABLE keystrand_spill_records",
			func(ctx context.Context, l spill.Log) error { return l.Append(ctx, []spill.Record{record("a", 2)}) }, "Schema",
		},
		"partition deleted": {
			"DELETE FROM keystrand_spill_partitions",
			func(ctx context.Context, l spill.Log) error { return l.Save(ctx, []spill.Mark{{Key: "a", Through: 1}}) }, "deleted",
		},
		"record deleted": {
			"DELETE FROM keystrand_spill_records",
			func(ctx context.Context, l spill.Log) error {
				_, err := l.Read(ctx, "a", -1, spill.Size{Messages: 5, Bytes: 10_000})
				return err
			}, "counts 1 records and has 0",
		},
		"record damaged": {
			"UPDATE keystrand_spill_records SET message = 'damaged'",
			func(ctx context.Context, l spill.Log) error {
				_, err := l.Read(ctx, "a", -1, spill.Size{})
				return err
			}, `key "a" offset 1 cannot be read`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db database) {
				t.Helper()
				pool := db.pool(t)
				l := open(t, newStore(t, pool, db.dialect, "changed"), owner)
				if err := l.Append(t.Context(), []spill.Record{record("a", 1)}); err != nil {
					t.Fatal(err)
				}
				exec1(t, pool, c.statement)
				if err := c.call(t.Context(), l); !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the call = %v, want ErrUnusable with %q", err, c.want)
				}
			})
		})
	}
}

// Records that do not fit into a statement together are stored by several. A driver that writes the values into the text of the
// statement needs the most room.
func TestLiveRecordsLargerThanAPacketTogetherAreStored(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		if db.dialect == spillsql.MariaDB {
			db.url += "?interpolateParams=true"
		}
		l := open(t, db.store(t, "many"), owner)
		var rs []spill.Record
		for i := range int64(20) {
			r := record("a", i)
			r.Message.Value = make([]byte, 1<<20)
			rs = append(rs, r)
		}
		if err := l.Append(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		if ms, err := l.Read(t.Context(), "a", -1, spill.Size{}); err != nil || len(ms) != len(rs) {
			t.Errorf("Read = %d messages, %v; want %d", len(ms), err, len(rs))
		}
	})
}

// A record that the database refuses for its size would make each Append fail for ever. It is named, and those below the limit
// are stored, alone and beside others.
func TestLiveLargestRecordIsStoredAndALargerOneIsNamed(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		l := open(t, db.store(t, "large"), owner)
		rs := []spill.Record{record("a", 1), record("b", 2), record("c", 3)}
		rs[1].Message.Value = make([]byte, 16<<20-70_000) // of the 16 MiB that MariaDB takes
		if err := l.Append(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		ms, err := l.Read(t.Context(), "b", -1, spill.Size{Messages: 9, Bytes: 1000})
		if err != nil || len(ms) != 1 || len(ms[0].Value) != len(rs[1].Message.Value) {
			t.Errorf("Read = %d messages, %v; want the large one", len(ms), err)
		}
		if db.dialect == spillsql.PostgreSQL {
			return // its limit is half a GiB
		}
		for name, spoil := range map[string]func(r *spill.Record){
			"value": func(r *spill.Record) { r.Message.Value = make([]byte, 17<<20) },
			"key":   func(r *spill.Record) { r.Key = strings.Repeat("k", 17<<20) },
		} {
			rs := []spill.Record{record("d", 4), record("e", 5)}
			spoil(&rs[1])
			err := l.Append(t.Context(), rs)
			if e, ok := errors.AsType[*spill.RecordError](err); !ok || e.Record != 1 {
				t.Errorf("Append with a %s of 17 MiB = %v, want a *RecordError of record 1", name, err)
			}
		}
	})
}
