package drc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

func TestNewRefusesAWrongConfigurationWithAllErrors(t *testing.T) {
	_, err := New("localhost:7070", []string{"a", "a", "b c"}, nil, Config{
		Tables: []string{"db.[a"}, Timeout: time.Millisecond, Client: &http.Client{Timeout: time.Second}, CatchUp: -1,
	})
	for _, want := range []string{
		"the URL names no", `topic "a": given twice`, `topic "b c"`, `table "db.[a"`, "Timeout is 1ms", "Timeout of Client", "CatchUp is negative",
		"store is nil",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
	if _, err := New("http://user:secret@[host", []string{"a"}, newMemStore(), Config{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error = %v, want one without the password", err)
	}
}

func TestRowsAndStatementsComeAsTheyWereAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		columns := []Column{
			{Name: "id", Type: "bigint", Unsigned: true},
			{Name: "code", Type: "varchar", Collation: "utf8mb4_bin"},
			{Name: "small", Type: "int"},
			{Name: "ratio", Type: "double"},
			{Name: "data", Type: "varbinary"},
			{Name: "amount", Type: "decimal", Generated: true},
		}
		keys := []Key{{Name: "PRIMARY", Columns: []string{"id"}}, {Name: "code", Columns: []string{"code"}}}
		before := []any{uint64(1<<64 - 1), "a", int64(-1 << 63), 0.1, []byte{0xff, 0}, "9.50"}
		after := []any{uint64(7), nil, int64(1<<53 + 1), 1.0, []byte{}, "9.50"}
		s.append(t,
			row("db.other", 1),
			Record{Type: Row, Table: "db.t", Kind: Update, Before: before, After: after, Columns: columns, Keys: keys},
			Record{Type: Row, Table: "db.t", Kind: Delete, Before: after, Columns: columns, Keys: keys})
		s.append(t, Record{Type: DDL, Database: "db", Query: "ALTER TABLE t", Tables: []string{"db.t"}})
		s.append(t, Record{Type: Row, Table: "db.t", Kind: Insert, After: []any{1}, Columns: columns[:1], Keys: keys})
		c := consume(t, open(t, networkTo(s), newMemStore(), Config{Tables: []string{"db.t"}}), "shop/db.t")
		c.commits = true

		all := c.read("shop/db.t", 2)
		want := []binlog.Row{
			{Kind: binlog.Update, Before: before, After: after, Transaction: "shop@log1:1", Index: 0},
			{Kind: binlog.Delete, Before: after, Transaction: "shop@log1:1", Index: 1},
		}
		for i, m := range all {
			got, err := binlog.RowOf(&m)
			if err != nil {
				t.Fatal(err)
			}
			text, of := fmt.Sprintf("%#v %#v", got.Before, got.After), fmt.Sprintf("%#v %#v", want[i].Before, want[i].After)
			if got.Kind != want[i].Kind || got.Transaction != want[i].Transaction || got.Index != want[i].Index || text != of {
				t.Errorf("row %d = %v %s %d %s, want %+v", i, got.Kind, got.Transaction, got.Index, text, want[i])
			}
			if got.Table.String() != "db.t" || len(got.Table.Columns) != len(columns) || len(got.Table.Keys) != 2 || got.Table.Whole ||
				!got.Table.Columns[0].Unsigned || !got.Table.Columns[5].Generated || !slices.Equal(got.Table.Keys[1].Columns, []int{1}) {
				t.Errorf("table = %+v, want that of the record", got.Table)
			}
			if key, err := c.src.Key(&m); err != nil || key.IsBarrier() {
				t.Errorf("key = %v, %v, want lanes", key, err)
			}
		}
		if rowOf(all[0]).Table != rowOf(all[1]).Table {
			t.Error("rows of one definition have two tables")
		}
		ddl := c.read("shop/db.t", 1)[0]
		if d, err := binlog.DDLOf(&ddl); err != nil || d == nil || d.Query != "ALTER TABLE t" || d.Database != "db" || d.Transaction != "shop@log1:2" {
			t.Errorf("statement = %+v, %v", d, err)
		}
		last := rowOf(c.read("shop/db.t", 1)[0])
		if last.Index != 0 {
			t.Errorf("index = %d, want 0: it is the first row of its transaction", last.Index)
		}
		if !last.Table.Whole || last.Table.Keys != nil || len(last.Table.Columns) != 1 {
			t.Errorf("table = %+v, want the new definition, whole because a part of a key is no column", last.Table)
		}
		c.close()
	})
}

func TestRowThatCannotBeReadStopsItsTableAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		s.append(t, row("db.a", 1))
		s.append(t, row("db.a", "one"), row("db.a", 2.5), row("db.b", 1)) // a text stays one; 2.5 is no bigint
		s.append(t, row("db.a", 3), row("db.b", 2))
		c := consume(t, open(t, networkTo(s), newMemStore(), Config{}), "shop/db.a", "shop/db.b")
		if got := ids(c.read("shop/db.b", 2)); !slices.Equal(got, []any{int64(1), int64(2)}) {
			t.Errorf("rows of b = %v, want 1 and 2", got)
		}
		if got := ids(c.read("shop/db.a", 2)); !slices.Equal(got, []any{int64(1), "one"}) {
			t.Errorf("rows of a = %v, want those before the fault", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := c.all["shop/db.a"].Fetch(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("fetch = %v, want that it blocks, because an error ends the pipeline", err)
		}
		trouble := c.src.Report().Trouble
		if len(trouble) != 1 || trouble[0].What != "stopped shop/db.a" {
			t.Fatalf("trouble = %+v, want the table that has stopped", trouble)
		}
		for _, want := range []string{"row 2 of transaction shop@log1:2 of table db.a", "column id", "http://drc", "delete the progress of shop/db.a/0"} {
			if !strings.Contains(trouble[0].Err.Error(), want) {
				t.Errorf("trouble = %v, want %q in it", trouble[0].Err, want)
			}
		}
		c.close()
	})
}

// The connections end in the middle of transactions, again and again. Four rows of a transaction go to two tables.
func TestCutStreamsGoOnWithoutARowMissingOrTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		n := networkTo(s)
		s.append(t, row("db.a", -1), row("db.b", -1))
		c := consume(t, open(t, n, newMemStore(), Config{Timeout: time.Second}), "shop/db.a", "shop/db.b")
		c.read("shop/db.a", 1)
		c.read("shop/db.b", 1)
		const transactions = 300
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range transactions {
				s.append(t, row("db.a", 2*i), row("db.b", 2*i), row("db.a", 2*i+1), row("db.b", 2*i+1))
				time.Sleep(10 * time.Millisecond)
			}
		})
		wg.Go(func() {
			for range 10 {
				time.Sleep(299 * time.Millisecond)
				n.cut()
			}
		})
		for _, table := range []string{"shop/db.a", "shop/db.b"} {
			for i, id := range ids(c.read(table, 2*transactions)) {
				if id != int64(i) {
					t.Fatalf("row %d of %s has id %v", i, table, id)
				}
			}
		}
		wg.Wait()
		c.close()
	})
}

func TestSecondSourceWaitsAndClaimsNothingBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Topics: []string{"shop", "depot"}})
		store, n := newMemStore(), networkTo(s)
		s.append(t, row("db.a", 1))
		if err := s.Append("depot", row("db.a", 1)); err != nil {
			t.Fatal(err)
		}
		first := consume(t, open(t, n, store, Config{}, "shop", "depot"), "shop/db.a", "depot/db.a")
		if got := first.src.Report(); got.State != "reading" || !got.Ready {
			t.Errorf("report of the first = %+v, want reading", got)
		}
		second := open(t, n, store, Config{}, "shop", "depot")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if p, err := second.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the second source got %v, %v before its turn", p, err)
		}
		if got := second.Report(); got.State != "waiting" || !got.Ready || len(got.Trouble) > 0 {
			t.Errorf("report of the second = %+v, want waiting and ready", got)
		}
		for _, stream := range []string{"shop/db.a", "shop/catalogue"} {
			if got := store.Epoch(stream); got != 1 {
				t.Errorf("epoch of %s = %d, want 1: the second claimed it", stream, got)
			}
		}
		s.append(t, row("db.a", 2), row("db.a", 3))
		all := first.read("shop/db.a", 2)
		if err := first.commit("shop/db.a", all[1].Offset+1); err != nil {
			t.Fatal(err)
		}
		first.close()
		began := time.Now()
		next := consume(t, second, "shop/db.a", "depot/db.a")
		if got := ids(next.read("shop/db.a", 1)); !slices.Equal(got, []any{int64(3)}) || time.Since(began) > time.Second {
			t.Errorf("the second reads %v after %v, want 3 at once", got, time.Since(began))
		}
		next.close()
	})
}

// A process that is cut off loses its turn; the one that waited claims the tables. The first one ends with an error instead of
// going on beside it.
func TestSourceThatLostItsTurnToAnotherIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		store, n := newMemStore(), networkTo(s)
		s.append(t, row("db.a", 1))
		first := consume(t, open(t, n, store, Config{Timeout: 3 * time.Second}), "shop/db.a")
		at := first.read("shop/db.a", 1)[0].Offset
		second := open(t, networkTo(s), store, Config{Timeout: 3 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := second.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("accept = %v before the first is cut off", err)
		}
		n.freeze()
		began := time.Now()
		next := consume(t, second, "shop/db.a")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the second is active after %v, want the timeout at most", took)
		}
		n.thaw()
		time.Sleep(20 * time.Second)
		if got := first.src.Report(); len(got.Trouble) != 1 {
			t.Errorf("report of the first = %+v, want trouble: it does not read", got)
		}
		if err := first.commit("shop/db.a", at+1); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit of the first = %v, want %v", err, commit.ErrFenced)
		}
		if _, err := first.src.Accept(t.Context()); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("accept of the first = %v, want %v", err, commit.ErrFenced)
		}
		first.close()
		next.close()
	})
}

func TestSilentServiceIsNoticedWithinTheTimeoutAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		n := networkTo(s)
		s.append(t, row("db.a", 1))
		c := consume(t, open(t, n, newMemStore(), Config{Timeout: 3 * time.Second}), "shop/db.a")
		c.read("shop/db.a", 1)
		time.Sleep(time.Minute) // nothing happens but heartbeats and posts
		if got := c.src.Report().Trouble; len(got) > 0 {
			t.Fatalf("trouble = %v of an idle topic, want none", got)
		}
		n.freeze()
		time.Sleep(3*time.Second + time.Millisecond)
		if got := c.src.Report().Trouble; len(got) != 1 || got[0].What != "read" {
			t.Errorf("trouble = %v, want the silence after the timeout", got)
		}
		n.cut()
		n.thaw()
		s.append(t, row("db.a", 2))
		if got := ids(c.read("shop/db.a", 1)); !slices.Equal(got, []any{int64(2)}) {
			t.Errorf("read %v, want 2", got)
		}
		synctest.Wait()
		if got := c.src.Report().Trouble; len(got) > 0 {
			t.Errorf("trouble = %v after it has healed", got)
		}
		c.close()
	})
}

// A source that reads nothing for long must keep its turn, and not take its own pause for a silent service.
func TestSourceWithoutRoomKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		for i := range 2_000 {
			s.append(t, row("db.a", i), row("db.b", i))
		}
		c := consume(t, open(t, networkTo(s), newMemStore(), Config{Timeout: time.Second, TableBytes: 2_000, QueueBytes: 4_000}), "shop/db.a", "shop/db.b")
		time.Sleep(time.Minute)
		for _, table := range []string{"shop/db.b", "shop/db.a"} {
			for i, id := range ids(c.read(table, 2_000)) {
				if id != int64(i) {
					t.Fatalf("row %d of %s has id %v", i, table, id)
				}
			}
		}
		c.close()
	})
}

func TestCheckpointsThatTheServiceRefusesAreFinal(t *testing.T) {
	for _, tt := range []struct {
		name string
		next ServerConfig
		rows int // of the next server
		code Code
		want string
	}{
		{"gone", ServerConfig{Log: "log1", Retain: 5}, 20, Gone, "the oldest is shop@log1:15"},
		{"ahead", ServerConfig{Log: "log1"}, 1, Ahead, "ahead of the log, which ends at shop@log1:1"},
		{"foreign", ServerConfig{Log: "log2"}, 20, Foreign, "from another log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, ServerConfig{})
				store, n := newMemStore(), networkTo(s)
				for i := range 10 {
					s.append(t, row("db.a", i))
				}
				c := consume(t, open(t, n, store, Config{}), "shop/db.a")
				last := c.read("shop/db.a", 10)[9]
				if err := c.commit("shop/db.a", last.Offset+1); err != nil {
					t.Fatal(err)
				}
				next := serve(t, tt.next)
				for i := range tt.rows {
					next.append(t, row("db.a", i))
				}
				n.mu.Lock()
				n.dial = networkTo(next).dial
				n.mu.Unlock()
				n.cut()
				check := func(err error) {
					t.Helper()
					e, ok := errors.AsType[*Error](err)
					if !ok || e.Code != tt.code || !strings.Contains(err.Error(), tt.want) ||
						!strings.Contains(err.Error(), "delete all progress of streams shop/…") {
						t.Errorf("accept = %v, want %s, with %q and what to do", err, tt.code, tt.want)
					}
					if (tt.code == Gone) != errors.Is(err, demux.ErrGone) {
						t.Errorf("accept = %v, want ErrGone only if it is gone", err)
					}
				}
				_, err := c.src.Accept(t.Context())
				check(err)
				c.close()
				// A restart does not go on silently either.
				again := open(t, n, store, Config{})
				_, err = again.Accept(t.Context()) // the table
				if err == nil {
					_, err = again.Accept(t.Context())
				}
				check(err)
				crash(again)
			})
		})
	}
}

func TestTopicIsReadFromItsOldestRecordsOrFromItsEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		retain  int
		fromEnd bool
		first   int64
	}{
		{"oldest", 0, false, 1},
		{"end", 0, true, 101},
		{"oldest of a topic that drops records", 40, false, 66}, // 40 are kept, an eighth is left out
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, ServerConfig{Retain: tt.retain})
				for i := range 100 {
					s.append(t, row("db.a", i+1))
				}
				c := consume(t, open(t, networkTo(s), newMemStore(), Config{FromEnd: tt.fromEnd}), "shop/db.a")
				time.Sleep(time.Second)
				s.append(t, row("db.a", 101))
				if got := ids(c.read("shop/db.a", 1)); got[0] != tt.first {
					t.Errorf("the first row is %v, want %d", got[0], tt.first)
				}
				c.close()
			})
		})
	}
}

func TestStatementWithoutTablesStopsAllUnlessItIsHandedOut(t *testing.T) {
	for _, handOut := range []bool{false, true} {
		t.Run(fmt.Sprint(handOut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, ServerConfig{})
				s.append(t, row("db.a", 1), row("db.b", 1))
				s.append(t, Record{Type: DDL, Query: "EXOTIC"})
				c := consume(t, open(t, networkTo(s), newMemStore(), Config{HandOutUnreadable: handOut}), "shop/db.a", "shop/db.b")
				c.commits = true
				for _, table := range []string{"shop/db.a", "shop/db.b"} {
					c.read(table, 1)
					if handOut {
						m := c.read(table, 1)[0]
						if d, err := binlog.DDLOf(&m); err != nil || d == nil || d.Query != "EXOTIC" {
							t.Errorf("statement = %+v, %v", d, err)
						}
						continue
					}
					var err error
					for err == nil {
						err = c.all[table].Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1})
					}
					if !strings.Contains(err.Error(), "EXOTIC") {
						t.Errorf("fetch of %s = %v, want an error with the statement", table, err)
					}
				}
				c.close()
			})
		})
	}
}

func TestMalformedStreamsAreFinalAndBusyServersAreNot(t *testing.T) {
	beat := `{"type":"heartbeat","checkpoint":"shop@log1:0","state":"active","oldest":"shop@log1:0","end":"shop@log1:5"}` + "\n"
	for _, tt := range []struct {
		name   string
		status int
		body   string
		final  string // in the error; empty: it is retried
	}{
		{"not JSON", 200, beat + "<html>", "does not follow the protocol"},
		{"unknown type", 200, beat + `{"type":"poem"}`, `a record of type "poem"`},
		{"wrong form", 200, beat + `{"type":"row","tx":"one"}`, "does not follow the protocol"},
		{"table without database", 200, beat + `{"type":"row","tx":1,"table":"a"}`, "which is not database.table"},
		{"error without a reason", 200, beat + `{"type":"error"}`, "without its reason"},
		{"no place", 200, beat + `{"type":"commit","checkpoint":"here"}`, "no checkpoint"},
		{"cut", 200, beat + `{"type":"row","tx":1,"ta`, ""},
		{"unauthorized", 401, "who are you?", "who are you?"},
		{"unavailable", 503, "later", ""},
		{"too many requests", 429, "later", ""},
		{"unknown topic", 404, `{"type":"error","error":{"code":"unknown_topic","message":"there is no topic"}}`, "there is no topic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, ServerConfig{})
				s.append(t, row("db.a", 1))
				n := networkTo(s)
				through := n.client()
				src := open(t, n, newMemStore(), Config{Logger: slog.New(slog.DiscardHandler)})
				src.topics[0].log.cfg.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if from := r.URL.Query().Get("from"); from == "" || from == "none" && tt.status == 200 {
						return through.Transport.RoundTrip(r)
					}
					return &http.Response{StatusCode: tt.status, Status: fmt.Sprint(tt.status), Body: body(tt.body), Request: r}, nil
				})}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := src.Accept(ctx)
				if err == nil { // the table
					_, err = src.Accept(ctx)
				}
				if final := !errors.Is(err, context.DeadlineExceeded); final != (tt.final != "") || final && !strings.Contains(err.Error(), tt.final) {
					t.Errorf("accept = %v, want an error with %q, or none if that is empty", err, tt.final)
				}
				crash(src)
				through.CloseIdleConnections()
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }
