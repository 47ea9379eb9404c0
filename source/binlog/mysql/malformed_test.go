package mysql_test

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// go-mysql panics at a part of a description that is cut.
func TestMalformedDescriptionStopsItsTableAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, "suite.*")
		m := newMaker(t, s, "suite", "t0", "t1")
		whole := m.insert("suite", "t0", [3][]byte{[]byte("x")})
		n := len(whole[0].Body())
		for cut := 1; cut < 20; cut++ {
			m.transaction(change(whole, 0, func(body []byte) []byte { return body[:n-cut] })...)
			m.transaction(m.insert("suite", "t1", [3][]byte{[]byte("x")})...)
		}
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(rowsOf(all, "suite.t1")); n != 19 {
			t.Errorf("%d rows of the other table, want 19", n)
		}
		err = faultsOf(all)["suite.t0"]
		if err == nil || !strings.Contains(err.Error(), "recorded:3306: ") || len(err.Error()) > 1000 {
			t.Errorf("fault %v, want one with the server", err)
		}
	})
}

// collations are those of the server that made the recordings.
func collations(tb testing.TB) map[uint64][2]string {
	tb.Helper()
	text, err := os.ReadFile("testdata/collations.tsv")
	if err != nil {
		tb.Fatal(err)
	}
	all := make(map[uint64][2]string)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		id, err := strconv.ParseUint(cells[0], 10, 64)
		if err == nil { // not the headline
			all[id] = [2]string{cells[1], cells[2]}
		}
	}
	return all
}

// rowEvents are the types of events with rows.
var rowEvents = []replication.EventType{
	replication.WRITE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv1,
	replication.WRITE_ROWS_EVENTv2, replication.UPDATE_ROWS_EVENTv2, replication.DELETE_ROWS_EVENTv2,
	replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1,
	replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1, replication.PARTIAL_UPDATE_ROWS_EVENT,
	replication.UPDATE_ROWS_EVENTv0,
}

// FuzzRows reads any description of a table with any rows. A reader neither panics nor counts them in another way the second time,
// and each row that has a JSON form has the same key in it.
func FuzzRows(f *testing.F) {
	var format []byte
	for _, name := range []string{recorded.Bank, recorded.Types, recorded.Partial, recorded.Compressed} {
		var description []byte
		seeds := make(map[string]bool)
		for _, e := range recorded.Load(f, name).Events() {
			switch typ := e.Type(); typ {
			case replication.FORMAT_DESCRIPTION_EVENT:
				format = e.Raw
			case replication.TABLE_MAP_EVENT:
				description = e.Body()
			default:
				for i, t := range rowEvents {
					if t != typ {
						continue
					}
					if key := string(description[8:]) + typ.String(); !seeds[key] {
						seeds[key] = true
						f.Add(byte(i), description, e.Body())
					}
				}
			}
		}
	}
	f.Add(byte(0), // a time with more digits than there are
		[]byte("\x01\x00\x00\x00\x00\x00\x01\x00\x01d\x00\x01t\x00\x01\x13\x01\x07\x00\x04\x02\x01c"),
		[]byte("\x01\x00\x00\x00\x00\x00\x01\x00\x01\x01\x00\x80\x00\x00"))
	f.Add(byte(6), []byte("\x01\x00\x00\x00\x00\x00\x01\x00\x01d\x00\x01t\x00\x01\x03\x00\x00"), []byte("\x01\x00\x00\x00\x00\x00\x01\x00\x01\x01"))
	all := collations(f)
	f.Fuzz(func(t *testing.T, typ byte, description, body []byte) {
		rows, err := mysql.NewRows(format, all)
		if err != nil {
			t.Fatal(err)
		}
		first := -1
		for range 2 {
			if _, ok := rows.Read(recorded.NewEvent(1, replication.TABLE_MAP_EVENT, 1, 0, description).Raw); !ok {
				return
			}
			events, ok := rows.Read(recorded.NewEvent(1, rowEvents[int(typ)%len(rowEvents)], 1, 0, body).Raw)
			if !ok {
				return
			}
			n := numbersOf(events)
			if first >= 0 && n != first {
				t.Fatalf("the event counts %d numbers, and then %d", first, n)
			}
			first = n
			for _, e := range events {
				checkRows(t, e)
			}
		}
	})
}

// checkRows checks that rows have a key, which is the same when they are read back.
func checkRows(t *testing.T, e demux.Event) {
	t.Helper()
	binlog.Seal(e.Rows, false)
	for i := range e.Rows {
		row := &e.Rows[i]
		m := keystrand.Message{Native: row}
		key, err := binlog.Key(&m)
		if err != nil {
			t.Fatalf("key of %+v: %v", row, err)
		}
		value, err := row.AppendValue(nil)
		if err != nil {
			return // a name that is not UTF-8
		}
		stored := keystrand.Message{Value: value}
		again, err := binlog.Key(&stored)
		if err != nil || !reflect.DeepEqual(again, key) {
			t.Fatalf("key of %s is %v, %v, and was %v", value, again, err, key)
		}
	}
}

func TestReaderForgetsTheNumbersOfTables(t *testing.T) {
	rows, err := mysql.NewRows(recorded.Load(t, recorded.Bank).Events()[0].Raw, collations(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range recorded.Load(t, recorded.Bank).Events()[1:] {
		rows.Read(e.Raw)
		if n := rows.Numbered(); n > 2 {
			t.Fatalf("%d tables are known by number, want those of one statement", n)
		}
	}
	if n := rows.Numbered(); n != 0 {
		t.Errorf("%d tables are known by number at the end, want none", n)
	}
}
