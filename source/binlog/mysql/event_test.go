package mysql_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// A handler may keep a small value for long. It must not keep the event.
func TestValueOfALargeEventKeepsOnlyItself(t *testing.T) {
	const events, size = 12, 2 << 20
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.t0")
		m := newMaker(t, s, "suite", "t0")
		large := bytes.Repeat([]byte("x"), size)
		for range events {
			m.transaction(m.insert("suite", "t0", [3][]byte{[]byte("small"), large, nil})...)
		}
		heap := func() int64 {
			runtime.GC()
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return int64(stats.HeapAlloc)
		}
		before := heap()
		var kept []any
		for _, row := range rowsOf(mustRead(t, log), "suite.t0") {
			kept = append(kept, row.After[1])
		}
		if held := heap() - before; len(kept) != events || held > events*size/2 {
			t.Errorf("%d small values hold %d bytes", len(kept), held)
		}
		runtime.KeepAlive(kept)
	})
}

func TestTransactionWithoutEndBeforeAnotherStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := recorded.Load(t, recorded.Bank)
		log, s := from(t, bank, mysql.Config{})
		m := newMaker(t, s, "suite", "t0")
		m.transaction(m.insert("suite", "t0", [3][]byte{})...)
		m.recording = rewrite(t, m.recording, replication.XID_EVENT, func(recorded.Event) recorded.Event {
			return recorded.NewEvent(1, replication.RAND_EVENT, 1, 0, make([]byte, 8))
		})
		m.transaction()
		_, err := readAll(t, log, "", nil)
		if err == nil || !strings.Contains(err.Error(), "in the middle of the transaction") || log.Temporary(err) {
			t.Errorf("error %v, want a final one", err)
		}
	})
}

// A dot may be part of either name.
func TestTablesWhoseNamesReadTheSameAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, `a*.*`)
		m := newMaker(t, s, "a")
		m.transaction(m.insert("a", "b.c", [3][]byte{[]byte("first")})...)
		m.transaction(m.insert("a.b", "c", [3][]byte{[]byte("second")})...)
		m.statement("a.b", "ALTER TABLE c FORCE")
		all := mustRead(t, log)
		for name, want := range map[string]string{"a.b.c": "first", `a\.b.c`: "second"} {
			if rows := rowsOf(all, name); len(rows) != 1 || fmt.Sprintf("%s", rows[0].After[1]) != want || !log.Wanted(name) {
				t.Errorf("%s: rows %v, wanted %v, want the %s alone", name, rows, log.Wanted(name), want)
			}
		}
		for _, e := range all {
			if e.Kind == demux.Statement && fmt.Sprint(e.DDL.Tables) != `[a\.b.c]` {
				t.Errorf("the statement is of %q", e.DDL.Tables)
			}
		}
	})
}

func TestDatabaseWithADotInItsNameIsReadAndGoesOnAfterARestart(t *testing.T) {
	for name, wanted := range map[string]string{"pattern": `a\.b.*`, "all": "*.*"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
				s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
				m := newMaker(t, s, "a.b", "c")
				cfg := mysql.Config{User: recorded.User, Password: recorded.Password, Dial: s.DialContext}
				cfg.Start = startNow(t, "recorded:3306", cfg)
				store := newMemStore()
				for run := range 2 {
					m.transaction(m.insert("a.b", "c", [3][]byte{fmt.Append(nil, "row ", run)})...)
					src, err := mysql.New("recorded:3306", []string{wanted}, store, cfg)
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					var (
						table    source.Partition
						accepted []source.Partition
					)
					for table == nil {
						p, err := src.Accept(ctx)
						if err != nil {
							t.Fatalf("run %d: the table is not accepted: %v", run, err)
						}
						accepted = append(accepted, p)
						if p.ID().Stream == `a\.b.c` {
							table = p
						}
					}
					b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
					for len(b.Messages) == 0 {
						if err := table.Fetch(ctx, &b); err != nil {
							t.Fatalf("run %d: %v", run, err)
						}
					}
					row, err := binlog.RowOf(&b.Messages[0])
					if err != nil || len(b.Messages) != 1 || fmt.Sprintf("%s", row.After[1]) != fmt.Sprint("row ", run) {
						t.Errorf("run %d: %v, %d messages, the first is %v", run, err, len(b.Messages), row)
					}
					if _, err := table.Commit(t.Context(), &commit.Progress{Frontier: b.Next}); err != nil {
						t.Error(err)
					}
					for _, p := range accepted {
						if err := p.Release(t.Context()); err != nil {
							t.Error(err)
						}
					}
					if err := src.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
