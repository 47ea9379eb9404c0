// Virtual time: all tests run in bubbles.

package mysql_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// as makes the last transaction one of another server.
func (m *maker) as(server uint32, before *recorded.Recording) *recorded.Recording {
	events := m.recording.Events()[len(before.Events()):]
	g := recorded.GTID{Server: server, Sequence: m.sequence}
	return before.Append(recorded.WithGTID(events, g)...).Set("gtid_binlog_pos", g.String()).Set("server_id", fmt.Sprint(server))
}

// t0 has settled GTIDs 98 to 100 of a server that dies. Its replica had only 97, and writes other transactions with these numbers.
func TestReplicaThatLacksWhatATableHasSettledStopsThatTable(t *testing.T) {
	for name, gap := range map[string]bool{"same number": false, "number left out": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
				s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
				m := newMaker(t, s, "suite", "t0", "t1")
				cfg := mysql.Config{User: recorded.User, Password: recorded.Password, Dial: s.DialContext}
				cfg.Start = startNow(t, "recorded:3306", cfg)
				store := newMemStore()
				f := follow(t, store, cfg, 2)
				row := func(table, text string) []recorded.Event { return m.insert("suite", table, [3][]byte{[]byte(text)}) }
				m.transaction(row("t1", "one")...)
				common, sequence := m.recording, m.sequence
				for i := range 3 {
					m.transaction(row("t0", fmt.Sprint("old ", i))...)
				}
				got, next := f.fetch("suite.t0", 3)
				if len(got) != 3 {
					t.Fatalf("t0 has %q, want 3 rows", got)
				}
				if _, err := f.tables["suite.t0"].Commit(t.Context(), &commit.Progress{Frontier: next}); err != nil {
					t.Fatal(err)
				}
				f.close()

				m.recording, m.sequence = common, sequence
				var want []string
				for i := range 4 {
					if gap && i == 2 {
						m.sequence++
						continue
					}
					before := m.recording
					m.transaction(append(row("t0", fmt.Sprint("new ", i)), row("t1", fmt.Sprint("new ", i))...)...)
					m.recording = m.as(2, before)
					want = append(want, fmt.Sprint("new ", i))
				}
				s.Replace(m.recording)
				f = follow(t, store, cfg, 2)
				defer f.close()
				if got, _ := f.fetch("suite.t1", 1+len(want)); !slices.Equal(got, append([]string{"one"}, want...)) {
					t.Errorf("t1 has %q, want all", got)
				}
				got, _ = f.fetch("suite.t0", 1)
				if len(got) > 0 {
					t.Errorf("t0 has %q, want a fault before", got)
				}
				stopped(t, f, "suite.t0", fmt.Sprintf("GTID 0-1-%d", sequence+3))
			})
		})
	}
}

// stopped checks that a table is reported with a place that is gone.
func stopped(t *testing.T, f *follower, table, place string) {
	t.Helper()
	r, is := f.src.(source.Reporter)
	if !is {
		t.Fatal("the source reports nothing")
	}
	trouble := r.Report().Trouble
	if !slices.ContainsFunc(trouble, func(tr source.Trouble) bool {
		return tr.What == "stopped "+table && errors.Is(tr.Err, mysql.ErrGone) && strings.Contains(tr.Err.Error(), place)
	}) {
		t.Errorf("trouble %+v, want that %s has stopped with ErrGone and %s", trouble, table, place)
	}
}

// A set of GTIDs tells at once what the server lacks.
func TestMySQLServerThatLacksWhatATableHasSettledStopsThatTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Bank).MySQL(t, recorded.GTIDs), mysql.Config{})
		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other := demux.Place("mysql:00000000-0000-0000-0000-00000000000f:1-5")
		all, err := readAll(t, log, "", map[string]demux.Known{
			"bank.account": {Settled: other}, "bank.entry": {Settled: at}, "bank.half": {Settled: at, Within: other},
		})
		if err != nil {
			t.Fatal(err)
		}
		faults := faultsOf(all)
		for _, table := range []string{"bank.account", "bank.half"} {
			if err := faults[table]; !errors.Is(err, mysql.ErrGone) || !strings.Contains(err.Error(), "0000000f:1-5") {
				t.Errorf("%s: fault %v, want ErrGone with the GTIDs", table, err)
			}
		}
		if len(faults) != 2 {
			t.Errorf("faults %v, want two", faults)
		}
	})
}
