package mysql_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// faultsOf returns the tables that stop, and why they do first.
func faultsOf(all []demux.Event) map[string]error {
	faults := make(map[string]error)
	for _, e := range all {
		if e.Kind == demux.Fault && faults[e.Table] == nil {
			faults[e.Table] = e.Err
		}
	}
	return faults
}

// beforeFault returns the events before the first fault. A reader goes on behind it; its table does not.
func beforeFault(all []demux.Event) []demux.Event {
	return all[:max(0, slices.IndexFunc(all, func(e demux.Event) bool { return e.Kind == demux.Fault }))]
}

func TestPreparedXATransactionStopsAllBeforeItsFirstRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.XA), mysql.Config{})
		all, err := readAll(t, log, "", nil)
		if err == nil || log.Temporary(err) {
			t.Fatalf("error %v, want a final one", err)
		}
		fault := faultsOf(all)[""]
		if fault == nil || !strings.Contains(fault.Error(), `XA transaction "first","branch",7`) || !strings.Contains(fault.Error(), "binlog.000001, position") {
			t.Errorf("fault of all tables = %v, want one that names the XID", fault)
		}
		if rows := rowsOf(all, "xa.t"); len(rows) != 3 {
			t.Errorf("%d rows, want the 3 before it", len(rows))
		}
	})
}

func TestXATransactionsOfOtherTablesStopNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.XA), mysql.Config{}, "xa.other")
		ends := 0
		for _, e := range mustRead(t, log) {
			if e.Kind == demux.End {
				ends++
			}
		}
		if ends != 11 {
			t.Errorf("%d transactions, want 11: the database, the table, 5 of one phase, and 2 of two with an end for each phase", ends)
		}
	})
}

func TestPartialImagesAndStatementsStopTheirTableAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorded.Load(t, recorded.Partial)
		log, _ := from(t, r, mysql.Config{})
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		faults := faultsOf(all)
		if len(faults) != 1 || faults["partial.t"] == nil || !strings.Contains(faults["partial.t"].Error(), "binlog_row_image") ||
			!strings.Contains(faults["partial.t"].Error(), "recorded:3306: binlog.000001, position") {
			t.Errorf("faults %v, want one of partial.t with server and position", faults)
		}
		if n := len(rowsOf(beforeFault(all), "partial.t")); n != 3 {
			t.Errorf("%d rows of partial.t, want the 3 whole ones before", n)
		}
		if n := len(rowsOf(all, "partial.whole")); n != 4 {
			t.Errorf("%d rows of partial.whole, want all 4", n)
		}

		// Begin behind the partial images, at the first statement.
		for i, e := range all {
			if e.Kind == demux.Rows && e.Rows[0].Table.Name == "whole" && e.Rows[0].After[0] == int64(2) {
				all, err = readAll(t, log, all[i+2].Place, nil)
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := faultsOf(all)["partial.t"]; err == nil || !strings.Contains(err.Error(), "UPDATE t SET a = a + 1") {
			t.Errorf("fault %v, want the statement", err)
		}
		if n := len(rowsOf(all, "partial.whole")); n != 2 {
			t.Errorf("%d rows of partial.whole, want 2", n)
		}
	})
}

func TestLoadDataInThePlaceOfRowsStopsItsTableAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Loading), mysql.Config{})
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		faults := faultsOf(all)
		if fault := faults["loading.t"]; len(faults) != 1 || fault == nil || !strings.Contains(fault.Error(), "binlog_format") ||
			!strings.Contains(fault.Error(), "LOAD DATA INFILE") {
			t.Errorf("faults %v, want one of loading.t with the statement", faults)
		}
		if n := len(rowsOf(beforeFault(all), "loading.t")); n != 4 {
			t.Errorf("%d rows of loading.t, want the 4 before it", n)
		}
		if n := len(rowsOf(all, "loading.other")); n != 1 {
			t.Errorf("%d rows of loading.other, want 1", n)
		}
	})
}

// rewrite returns a log whose last event of a kind has another type or body.
func rewrite(t *testing.T, r *recorded.Recording, typ replication.EventType, change func(recorded.Event) recorded.Event) *recorded.Recording {
	t.Helper()
	c := *r
	c.Files = append([]recorded.File(nil), r.Files...)
	for i := len(c.Files) - 1; i >= 0; i-- {
		events := append([]recorded.Event(nil), c.Files[i].Events...)
		for k := len(events) - 1; k >= 0; k-- {
			if events[k].Type() == typ {
				start := events[k].Start
				events[k] = change(events[k])
				events[k].Start = start
				c.Files[i].Events = events
				return &c
			}
		}
	}
	t.Fatalf("no event of type %v", typ)
	return nil
}

func TestWhatTheLogCannotTellStopsAll(t *testing.T) {
	bank := recorded.Load(t, recorded.Bank)
	for name, c := range map[string]struct {
		r    *recorded.Recording
		want string
	}{
		"incident":      {bank.Append(recorded.NewEvent(1, replication.INCIDENT_EVENT, 1, 0, []byte{1, 0, 0})), "misses events"},
		"unknown event": {bank.Append(recorded.NewEvent(1, replication.EventType(150), 1, 0, []byte("x"))), "type 150"},
		"transaction without end": {rewrite(t, bank, replication.XID_EVENT, func(recorded.Event) recorded.Event {
			return recorded.NewEvent(1, replication.RAND_EVENT, 1, 0, make([]byte, 16))
		}), "in the middle of the transaction"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, _ := from(t, c.r, mysql.Config{})
				all, err := readAll(t, log, "", nil)
				if name == "transaction without end" { // the next one, or a new file, shows it
					log, _ = from(t, c.r.Append(c.r.Events()[1]), mysql.Config{})
					all, err = readAll(t, log, "", nil)
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || log.Temporary(err) {
					t.Errorf("error %v, want a final one with %q", err, c.want)
				}
				if len(rowsOf(all, "bank.account")) < 100 {
					t.Error("the rows before it are missing")
				}
			})
		})
	}
}

func TestIgnorableEventsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank := recorded.Load(t, recorded.Bank)
		log, _ := from(t, bank.Append(recorded.NewEvent(1, replication.EventType(150), 1, replication.LOG_EVENT_IGNORABLE_F, []byte("x"))), mysql.Config{})
		mustRead(t, log)
	})
}
