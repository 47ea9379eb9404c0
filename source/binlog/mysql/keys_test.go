package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func TestRowsHaveEveryKindOfKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Types), mysql.Config{}, "types.[^r]*")
		all := mustRead(t, log)
		for table, want := range map[string]string{
			"types.number":    "[{PRIMARY [0] []}] false",
			"types.pair":      "[{PRIMARY [1 0] []}] false",
			"types.nullable":  "[{ab [0 1] []} {b [1] []}] false",
			"types.prefix":    "[{PRIMARY [0] [3]}] false",
			"types.folded":    "[{PRIMARY [0] []} {exact [1] []}] false",
			"types.generated": "[{PRIMARY [0] []} {folded [2] []}] false",
			"types.keyless":   "[] false",
		} {
			row := rowsOf(all, table)[0]
			if got := fmt.Sprint(row.Table.Keys, row.Table.Whole); got != want {
				t.Errorf("%s: keys %s, want %s", table, got, want)
			}
		}
		for _, c := range rowsOf(all, "types.made")[0].Table.Columns {
			if want := c.Name == "stored" || c.Name == "virt"; c.Generated != want {
				t.Errorf("types.made.%s: generated %v, want %v", c.Name, c.Generated, want)
			}
		}
	})
}

// The server tells the keys of its present, which may be the future of the rows that are read.
func TestKeysFromBeforeAndAfterAStatementCountUntilTheReaderIsPastItsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.t0")
		m := newMaker(t, s, "suite", "t0")
		row := [3][]byte{[]byte("k"), []byte("v"), nil}
		m.transaction(m.insert("suite", "t0", row)...)
		alter := func(keys ...string) {
			m.keys("suite", "t0", keys...)
			m.statement("suite", "ALTER TABLE t0 ADD UNIQUE KEY x (k)")
		}

		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := log.Open(t.Context(), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // it was only read
		next := func(tables map[string]demux.Known) (keys []string, last demux.Place) {
			t.Helper()
			all, err := drain(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range all {
				switch e.Kind {
				case demux.Rows:
					var names []string
					for _, k := range e.Rows[0].Table.Keys {
						names = append(names, k.Name)
					}
					keys = append(keys, strings.Join(names, "+"))
				case demux.Defined:
					tables[e.Table] = demux.Known{State: e.State}
				case demux.End:
					last = e.Place
				case demux.Fault, demux.Statement, demux.Idle:
				}
			}
			return keys, last
		}
		tables := make(map[string]demux.Known)
		if got, _ := next(tables); fmt.Sprint(got) != "[PRIMARY]" {
			t.Fatalf("keys %q at first", got)
		}

		// Three changes, and rows between them, are in the log when the reader comes to the first.
		s.Stop(len(m.recording.Events()))
		alter("k")
		m.transaction(m.insert("suite", "t0", row)...)
		alter("v")
		m.transaction(m.insert("suite", "t0", row)...)
		s.Stop(-1)
		got, _ := next(tables)
		if want := "[PRIMARY+v PRIMARY+v]"; fmt.Sprint(got) != want { // the key k was gone when the reader asked
			t.Errorf("keys %q, want %s", got, want)
		}
		m.transaction(m.insert("suite", "t0", row)...)
		if got, _ := next(tables); fmt.Sprint(got) != "[PRIMARY+v]" {
			t.Errorf("keys %q, want v alone when the reader has passed its reading", got)
		}

		// A restart between a statement and the next row knows the keys from before it.
		alter("k")
		_, place := next(tables)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		m.transaction(m.insert("suite", "t0", row)...)
		m.transaction()
		m.transaction(m.insert("suite", "t0", row)...)
		if r, err = log.Open(t.Context(), place, tables); err != nil {
			t.Fatal(err)
		}
		if got, _ := next(tables); fmt.Sprint(got) != "[PRIMARY+v+k PRIMARY+v+k]" {
			t.Errorf("keys %q, want v from before the statement and k from after it", got)
		}
		m.transaction(m.insert("suite", "t0", row)...)
		if got, _ := next(tables); fmt.Sprint(got) != "[PRIMARY+k]" {
			t.Errorf("keys %q, want k alone", got)
		}
	})
}

func TestTableThatTheServerDoesNotShowIsOneLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
		m := newMaker(t, s, "suite")
		m.transaction(m.insert("suite", "t9", [3][]byte{[]byte("k"), nil, nil})...)
		if row := rowsOf(mustRead(t, log), "suite.t9")[0]; !row.Table.Whole || row.Table.Keys != nil {
			t.Errorf("table %+v, want one lane", row.Table)
		}
	})
}

func TestDamagedStateIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Bank), mysql.Config{})
		for _, state := range []string{"{", `{"n":{},"b":"nowhere"}`, `{"o":1}`} {
			all, err := readAll(t, log, "", map[string]demux.Known{"bank.account": {State: state}})
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(rowsOf(all, "bank.account")[0].Table.Keys); got != "[{PRIMARY [0] []} {name [1] []}]" {
				t.Errorf("state %q: keys %s", state, got)
			}
		}
	})
}

// FuzzState reads whatever stands in a store as the state of a table.
func FuzzState(f *testing.F) {
	f.Add(`{"o":[{"k":[{"n":"PRIMARY","c":["a","b"],"p":[0,3]}]}],"n":{"g":["c"],"u":true},"b":"mariadb:0-1-5"}`)
	f.Add(`{"n":{},"b":"nowhere"}`)
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		if once := mysql.State(text); mysql.State(once) != once {
			t.Errorf("%q is read as %s, and that as %s", text, once, mysql.State(once))
		}
	})
}
