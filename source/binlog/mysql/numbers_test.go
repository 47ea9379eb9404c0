// Virtual time: all tests run in bubbles.

package mysql_test

import (
	"context"
	"fmt"
	"slices"
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

// change returns events with another body of one of them.
func change(events []recorded.Event, i int, to func(body []byte) []byte) []recorded.Event {
	events = slices.Clone(events)
	events[i] = recorded.NewEvent(1, events[i].Type(), 1, 0, to(slices.Clone(events[i].Body())))
	return events
}

// partial makes the rows of an insert lack a column.
func partial(events []recorded.Event) []recorded.Event {
	return change(events, 1, func(body []byte) []byte { body[9] = 0b0111; return body })
}

// numbersOf returns how many numbers events take.
func numbersOf(all []demux.Event) (n int) {
	for _, e := range all {
		n += len(e.Rows) + e.Count
		if e.Kind == demux.End || e.Kind == demux.Statement {
			n++
		}
	}
	return n
}

// A reader of one table may begin anywhere, and its numbers must be those of the reader of all tables.
func TestRowsBehindAFaultAreCountedTheSameFromEveryPlace(t *testing.T) {
	for name, fault := range map[string]func(m *maker) []recorded.Event{
		"partial image": func(m *maker) []recorded.Event {
			return partial(m.insert("suite", "t0", [3][]byte{[]byte("half")}, [3][]byte{[]byte("half")}))
		},
		"no columns at all": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("none")}), 1, func(body []byte) []byte { body[9] = 0b11110000; return body })
		},
		"row cut": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("cut"), []byte("cut")}), 1, func(body []byte) []byte { return body[:len(body)-1] })
		},
		"other count of columns": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("x")}), 1, func(body []byte) []byte { body[8] = 3; body[9] = 0b111; return body })
		},
		"no names of columns": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("x")}), 0, func(body []byte) []byte { return body[:len(body)-19] })
		},
		"size of compressed rows": func(m *maker) []recorded.Event {
			events := m.insert("suite", "t0", [3][]byte{[]byte("x")})
			body := append(slices.Clone(events[1].Body()[:10]), 0x86, 0x80, 0, 0, 0, 0, 0, 'x') // 2^47 bytes
			events[1] = recorded.NewEvent(1, replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1, 1, 0, body)
			return events
		},
		"primary key of a column that is not there": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("x")}), 0, func(body []byte) []byte { body[len(body)-1] = 4; return body })
		},
		"malformed description": func(m *maker) []recorded.Event {
			return change(m.insert("suite", "t0", [3][]byte{[]byte("x")}), 0, func(body []byte) []byte { return body[:len(body)-1] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
				m := newMaker(t, s, "suite", "t0", "t1")
				for range 3 {
					m.transaction(fault(m)...)
					m.transaction(append(m.insert("suite", "t0", [3][]byte{[]byte("whole")}), m.insert("suite", "t1", [3][]byte{[]byte("x")})...)...)
				}
				all, err := readAll(t, log, "", nil)
				if err != nil {
					t.Fatal(err)
				}
				faults, places := 0, 0
				for i, e := range all {
					if i < len(all)-40 {
						continue // of the recording
					}
					if e.Kind == demux.Fault {
						faults++
						continue
					}
					if e.Kind != demux.End {
						continue
					}
					places++
					rest, err := readAll(t, log, e.Place, nil)
					if err != nil {
						t.Fatal(err)
					}
					if a, b := numbersOf(all[i+1:]), numbersOf(rest); a != b {
						t.Errorf("behind %s: a reader from the start counts %d numbers, one from there %d", e.Place, a, b)
					}
				}
				if faults != 3 || places < 6 {
					t.Errorf("%d faults and %d places, want one fault in each of 3 transactions", faults, places)
				}
			})
		})
	}
}

// A later release, or a server with other collations, may read what could not be read before.
func TestRowsThatCannotBeReadAreCountedLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Types), mysql.Config{})
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		answers := s.OnQuery
		s.OnQuery = func(query string, args []any) (*recorded.Table, error) {
			table, err := answers(query, args)
			if strings.Contains(query, "information_schema.COLLATION") && err == nil {
				table.Rows = nil
			}
			return table, err
		}
		blind, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(faultsOf(blind)) - len(faultsOf(all)); n < 1 || numbersOf(blind) != numbersOf(all) {
			t.Errorf("%d numbers with %d more faults, want %d", numbersOf(blind), n, numbersOf(all))
		}
	})
}

// follower accepts tables of a source and fetches from them.
type follower struct {
	*testing.T
	src    source.Source
	tables map[string]source.Partition
}

// follow starts a source that reads the tables of the database "suite", and accepts n tables.
func follow(t *testing.T, store commit.Store, cfg mysql.Config, n int) *follower {
	t.Helper()
	src, err := mysql.New("recorded:3306", []string{"suite.*"}, store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t, src, make(map[string]source.Partition)}
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p, err := src.Accept(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		f.tables[p.ID().Stream] = p
	}
	return f
}

// close releases all.
func (f *follower) close() {
	f.Helper()
	for _, p := range f.tables {
		if err := p.Release(context.Background()); err != nil {
			f.Error(err)
		}
	}
	if err := f.src.Close(); err != nil {
		f.Error(err)
	}
}

// fetch fetches rows of a table, at most n, until none has come for half a minute. It returns their values of k and the position.
func (f *follower) fetch(table string, n int) (got []string, next int64) {
	f.Helper()
	for len(got) < n {
		b := source.Batch{MaxMessages: n - len(got), MaxBytes: 1 << 20}
		ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
		err := f.tables[table].Fetch(ctx, &b)
		cancel()
		if err != nil {
			return got, next
		}
		next = b.Next
		for i := range b.Messages {
			row, err := binlog.RowOf(&b.Messages[i])
			if err != nil {
				f.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s", row.After[1]))
		}
	}
	return got, next
}

func TestTableThatFallsBehindAfterAFaultOfAnotherLosesNoRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
		s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
		m := newMaker(t, s, "suite", "t0", "t1", "t2")
		cfg := mysql.Config{User: recorded.User, Password: recorded.Password, Dial: s.DialContext, TableBytes: 4000}
		cfg.Start = startNow(t, "recorded:3306", cfg)
		f := follow(t, newMemStore(), cfg, 3)
		defer f.close()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // t2 always waits for rows
			defer close(done)
			for b := (source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}); f.tables["suite.t2"].Fetch(ctx, &b) == nil; b.Messages = nil {
			}
		}()
		defer func() { stop(); <-done }()
		row := func(table string, i int) []recorded.Event {
			return m.insert("suite", table, [3][]byte{fmt.Append(nil, i)})
		}
		for i := range 40 { // t0 falls behind
			m.transaction(row("t0", i)...)
		}
		time.Sleep(time.Minute)
		m.transaction(partial(row("t0", 40))...)
		var want []string
		both := func(from, n int) {
			for i := from; i < from+n; i++ {
				m.transaction(append(row("t1", i), row("t0", 100+i)...)...)
				want = append(want, fmt.Sprint(i))
			}
		}
		both(0, 60) // t1 falls behind, too
		time.Sleep(time.Minute)
		got, _ := f.fetch("suite.t1", len(want))
		both(60, 10)
		more, _ := f.fetch("suite.t1", len(want)-len(got))
		if got = append(got, more...); !slices.Equal(got, want) {
			t.Errorf("t1 has %d rows, want %d: %v", len(got), len(want), got)
		}
	})
}
