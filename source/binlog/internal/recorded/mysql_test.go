package recorded_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

var forms = []recorded.Form{recorded.GTIDs, recorded.Tagged, recorded.Payloads}

func TestMySQLFormHasTheRowsOfTheRecording(t *testing.T) {
	for _, name := range []string{recorded.Bank, recorded.Types, recorded.DDL} {
		r := recorded.Load(t, name)
		want := readRows(t, recorded.Serve(t, r), r.Files[0].Name, "")
		for _, form := range forms {
			for _, file := range []string{r.Files[0].Name, ""} {
				if file != "" && name == recorded.Bank {
					continue // one is enough: a decoder a transaction takes its time
				}
				t.Run(fmt.Sprintf("%s/%s/file=%s", name, form, file), func(t *testing.T) {
					got := readRows(t, recorded.Serve(t, r.MySQL(t, form)), file, "")
					if got.rows != want.rows || !maps.EqualFunc(got.tables, want.tables, maps.Equal[map[string]bool]) {
						t.Errorf("%d rows in %v, want %d in %v", got.rows, got.tables, want.rows, want.tables)
					}
				})
			}
		}
	}
}

func TestMySQLFormsUseTheirEvents(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	for form, want := range map[recorded.Form]replication.EventType{
		recorded.GTIDs: replication.GTID_EVENT, recorded.Tagged: replication.GTID_TAGGED_LOG_EVENT, recorded.Payloads: replication.TRANSACTION_PAYLOAD_EVENT,
	} {
		m := r.MySQL(t, form)
		if m.Find(0, func(e recorded.Event) bool { return e.Type() == want }) < 0 {
			t.Errorf("%s: no %s", form, want)
		}
		if m.Find(0, func(e recorded.Event) bool { return e.Type() >= replication.MARIADB_ANNOTATE_ROWS_EVENT }) >= 0 {
			t.Errorf("%s: an event of MariaDB", form)
		}
		if n := m.Find(0, func(e recorded.Event) bool { return e.Type() == replication.TABLE_MAP_EVENT }); n >= 0 != (form != recorded.Payloads) {
			t.Errorf("%s: first table map is event %d", form, n)
		}
	}
}

func TestMySQLReaderAfterGTIDsGetsTheRest(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	for _, form := range forms {
		t.Run(string(form), func(t *testing.T) {
			m := r.MySQL(t, form)
			set := gtidSet(t, "")
			count, want := 0, ""
			for _, e := range readGTIDs(t, recorded.Serve(t, m), "") { // the first 70 transactions
				if count++; count <= 70 {
					if err := set.Update(e); err != nil {
						t.Fatal(err)
					}
				} else {
					want += e + " "
				}
			}
			got := strings.Join(readGTIDs(t, recorded.Serve(t, m), set.String()), " ") + " "
			if got != want {
				t.Errorf("after %s: %s, want %s", set, got, want)
			}
		})
	}
}

func TestMySQLRefusesGTIDsThatItDoesNotHave(t *testing.T) {
	r := recorded.Load(t, recorded.Bank).MySQL(t, recorded.Tagged)
	all := r.Variables["gtid_executed"]
	ahead := gtidSet(t, all)
	if err := ahead.Update(recorded.SourceUUID + ":" + recorded.SourceTag + ":999"); err != nil {
		t.Fatal(err)
	}
	wantError(t, read(t, config(recorded.Serve(t, r)), "", 0, ahead.String()).fails(), 1236, "Slave has more GTIDs than the master has")
	purged := recorded.Serve(t, r.Purge(r.Files[1].Name))
	wantError(t, read(t, config(purged), "", 0, recorded.SourceUUID+":1-3").fails(), 1236, "purged required binary logs")
	read(t, config(purged), "", 0, all).until(func(e *replication.BinlogEvent) bool {
		return e.Header.EventType == replication.PREVIOUS_GTIDS_EVENT
	})
}

// readGTIDs returns the GTIDs of the transactions that a reader gets.
func readGTIDs(t *testing.T, s *recorded.Server, after string) []string {
	t.Helper()
	var gtids []string
	last := s.Recording().Find(0, func(e recorded.Event) bool { return e.Type() == replication.ROTATE_EVENT })
	last = s.Recording().Find(last+1, func(e recorded.Event) bool { return e.Type() == replication.ROTATE_EVENT })
	end := uint32(s.Recording().Events()[last].End())
	read(t, config(s), "", 0, after).until(func(e *replication.BinlogEvent) bool {
		switch g := e.Event.(type) {
		case *replication.GTIDEvent:
			gtids = append(gtids, next(t, g))
		case *replication.GtidTaggedLogEvent:
			gtids = append(gtids, next(t, &g.GTIDEvent))
		}
		return e.Header.EventType == replication.ROTATE_EVENT && e.Header.LogPos == end
	})
	return gtids
}

func next(t *testing.T, e *replication.GTIDEvent) string {
	t.Helper()
	g, err := e.GTIDNext()
	if err != nil {
		t.Fatal(err)
	}
	return g.String()
}

func gtidSet(t *testing.T, text string) mysql.GTIDSet {
	t.Helper()
	set, err := mysql.ParseMysqlGTIDSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
