package recorded_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

var names = []string{recorded.Bank, recorded.Types, recorded.DDL, recorded.XA, recorded.Partial, recorded.Compressed, recorded.Phases, recorded.Loading}

func TestEveryRecordingReachesAReaderWhole(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			r := recorded.Load(t, name)
			for _, gtids := range []bool{false, true} {
				s := recorded.Serve(t, r)
				file := r.Files[0].Name
				if gtids {
					file = ""
				}
				reader := read(t, config(s), file, 4, "")
				var want, got [][]byte
				for _, e := range r.Events() {
					if e.Type() != replication.MARIADB_ANNOTATE_ROWS_EVENT {
						want = append(want, e.Raw)
					}
				}
				reader.until(func(e *replication.BinlogEvent) bool {
					if e.Header.Timestamp != 0 { // it is in the log
						got = append(got, e.RawData)
					}
					return len(got) == len(want)
				})
				for i := range got {
					if !bytes.Equal(got[i], want[i]) {
						t.Errorf("by GTID %v: event %d = %x, want %x", gtids, i, got[i], want[i])
					}
				}
			}
		})
	}
}

// replay applies the rows that a reader gets to empty tables.
type replay struct {
	tables map[string]map[string]bool // rows as texts, by db.table
	rows   int
}

func (p *replay) apply(e replication.Event) {
	switch e := e.(type) {
	case *replication.TransactionPayloadEvent:
		for _, inner := range e.Events {
			p.apply(inner.Event)
		}
	case *replication.RowsEvent:
		name := string(e.Table.Schema) + "." + string(e.Table.Table)
		if p.tables[name] == nil {
			p.tables[name] = map[string]bool{}
		}
		for i, row := range e.Rows {
			p.rows++
			kind := e.Type()
			gone := kind == replication.EnumRowsEventTypeDelete || kind == replication.EnumRowsEventTypeUpdate && i%2 == 0
			if text := join(row); gone {
				delete(p.tables[name], text)
			} else {
				p.tables[name][text] = true
			}
		}
	}
}

func join(row []any) string {
	var text string
	for _, v := range row {
		text += fmt.Sprint(v) + "|"
	}
	return text
}

// readRows reads a whole log.
func readRows(t *testing.T, s *recorded.Server, file, gtids string) *replay {
	t.Helper()
	p := &replay{tables: map[string]map[string]bool{}}
	end := 0
	for _, e := range s.Recording().Events() {
		if e.Type() == replication.ROTATE_EVENT {
			end++
		}
	}
	read(t, config(s), file, 4, gtids).until(func(e *replication.BinlogEvent) bool {
		p.apply(e.Event)
		if e.Header.EventType == replication.ROTATE_EVENT && e.Header.Timestamp != 0 {
			end--
		}
		return end == 0
	})
	return p
}

func TestReplayedBankIsTheBankAtTheEnd(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	got := readRows(t, recorded.Serve(t, r), r.Files[0].Name, "")
	if len(r.Tables) != 3 {
		t.Fatalf("%d tables, want 3", len(r.Tables))
	}
	for name, table := range r.Tables {
		want := map[string]bool{}
		for _, row := range table.Rows {
			want[join(row)] = true
		}
		if !maps.Equal(got.tables[name], want) {
			t.Errorf("%s = %v, want %v", name, got.tables[name], want)
		}
	}
}

func TestPositionsOfRecordedEventsAreThoseInTheirHeaders(t *testing.T) {
	for _, name := range names {
		for n, e := range recorded.Load(t, name).Events() {
			var h replication.EventHeader
			if err := h.Decode(e.Raw); err != nil {
				t.Fatal(err)
			}
			if uint64(h.LogPos) != e.End() {
				t.Errorf("%s: event %d (%s) ends at %d, its header says %d", name, n, h.EventType, e.End(), h.LogPos)
			}
		}
	}
}

func TestReaderBeginsWithinAFile(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	s := recorded.Serve(t, r)
	n := r.Find(50, isGTID)
	begin := r.Events()[n]
	events := read(t, config(s), r.Files[0].Name, uint32(begin.Start), "").until(at(uint32(begin.End())))
	var types []replication.EventType
	for _, e := range events {
		types = append(types, e.Header.EventType)
	}
	want := []replication.EventType{replication.ROTATE_EVENT, replication.FORMAT_DESCRIPTION_EVENT, replication.MARIADB_GTID_EVENT}
	if !slices.Equal(types, want) {
		t.Errorf("events = %v, want %v", types, want)
	}
	wantDumps(t, s, recorded.Dump{ServerID: 9, File: r.Files[0].Name, Pos: uint32(begin.Start)})
}

func TestReaderAfterGTIDsGetsTheNextTransaction(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	for n, last := range r.Events() {
		g, ok := last.GTID()
		next := r.Find(n+1, isGTID)
		if !ok || next < 0 || n%40 != 0 && r.Events()[next].Start > last.Start { // all at the end of a file, some others
			continue
		}
		s := recorded.Serve(t, r)
		events := read(t, config(s), "", 0, g.String()).until(func(e *replication.BinlogEvent) bool {
			return e.Header.EventType == replication.MARIADB_GTID_EVENT
		})
		if got := events[len(events)-1].RawData; !bytes.Equal(got, r.Events()[next].Raw) {
			t.Errorf("after %s: first transaction = %x, want %x", g, got, r.Events()[next].Raw)
		}
		wantDumps(t, s, recorded.Dump{ServerID: 9, GTIDs: g.String()})
	}
}

func TestServerRefusesPlacesThatItDoesNotHave(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	second := r.Files[1].Name
	for _, c := range []struct {
		name  string
		r     *recorded.Recording
		file  string
		pos   uint32
		gtids string
		want  string
	}{
		{"unknown file", r, "binlog.000009", 4, "", "Could not find first log file name"},
		{"purged file", r.Purge(second), "binlog.000001", 4, "", "Could not find first log file name"},
		{"after the end", r, second, 1 << 30, "", "impossible position"},
		{"within an event", r, second, 300, "", "exceeded max_allowed_packet"},
		{"purged GTID", r.Purge(second), "", 0, "0-1-5", "Could not find GTID state"},
		{"nothing, and files are purged", r.Purge(second), "", 0, "", "Could not find GTID state"},
		{"GTID of the future", r, "", 0, "0-1-99999", "0-1-99999, which is not in the master's binlog"},
		{"GTID of another server", r, "", 0, "0-7-20", "0-7-20, which is not in the master's binlog. Since"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, read(t, config(recorded.Serve(t, c.r)), c.file, c.pos, c.gtids).fails(), 1236, c.want)
		})
	}
}

func TestServerCutsOnceBeforeAnEvent(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	s := recorded.Serve(t, r)
	first := r.Find(20, isRows)
	second := r.Find(first+1, isRows)
	s.CutBefore(first, second)
	for _, n := range []int{first, second} {
		reader := read(t, config(s), r.Files[0].Name, 4, "")
		reader.until(at(uint32(r.Events()[n-1].End())))
		if _, err := reader.next(); err == nil {
			t.Errorf("the connection survived event %d", n)
		}
	}
	read(t, config(s), r.Files[0].Name, 4, "").until(at(uint32(r.Events()[second+5].End())))
}

func TestServerHoldsEventsBack(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	s := recorded.Serve(t, r)
	n := r.Find(100, isGTID)
	s.Stop(n)
	c := config(s)
	c.HeartbeatPeriod = 20 * time.Millisecond
	reader := read(t, c, r.Files[0].Name, 4, "")
	events := reader.until(func(e *replication.BinlogEvent) bool { return e.Header.EventType == replication.HEARTBEAT_EVENT })
	if beat, last := events[len(events)-1], events[len(events)-2]; beat.Header.LogPos != last.Header.LogPos ||
		uint64(last.Header.LogPos) != r.Events()[n-1].End() {
		t.Errorf("heartbeat at %d after an event that ends at %d, want %d", beat.Header.LogPos, last.Header.LogPos, r.Events()[n-1].End())
	}
	s.Stop(-1)
	reader.until(at(uint32(r.Events()[n].End())))
}

func TestHeartbeatsComeInTimeAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorded.Load(t, recorded.Bank)
		s := recorded.Pipe(t, r)
		s.Stop(10)
		c := config(s)
		c.HeartbeatPeriod = 3 * time.Second
		reader := read(t, c, r.Files[0].Name, 4, "")
		reader.until(at(uint32(r.Events()[9].End())))
		start := time.Now()
		for i := range 5 {
			e, err := reader.next()
			if err != nil || e.Header.EventType != replication.HEARTBEAT_EVENT || time.Since(start) != time.Duration(i+1)*3*time.Second {
				t.Fatalf("after %v: %v, %v, want heartbeat %d", time.Since(start), e, err, i+1)
			}
		}
		s.Silence(true)
		time.Sleep(55 * time.Second)
		s.Silence(false)
		if e, err := reader.next(); err != nil || time.Since(start) != 73*time.Second {
			t.Fatalf("after %v: %v, %v, want a heartbeat after 73 s", time.Since(start), e, err)
		}
	})
}

func TestSecondReaderWithTheSameServerIDEndsTheFirst(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	for flavor, code := range map[string]uint16{recorded.MariaDB: 4052, recorded.MySQL: 1236} {
		t.Run(flavor, func(t *testing.T) {
			r := *r
			r.Flavor = flavor
			s := recorded.Serve(t, &r)
			end := at(uint32(r.Events()[9].End()))
			s.Stop(10)
			first := read(t, config(s), r.Files[0].Name, 4, "")
			first.until(end)
			read(t, config(s), r.Files[0].Name, 4, "").until(end)
			wantError(t, first.fails(), code, "same server_uuid/server_id")
		})
	}
}

func TestServerRefusesADump(t *testing.T) {
	s := recorded.Serve(t, recorded.Load(t, recorded.Bank))
	s.OnDump = func(d recorded.Dump) error {
		if d.ServerID != 9 {
			t.Errorf("server id = %d, want 9", d.ServerID)
		}
		return mysql.NewError(mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, "no privilege")
	}
	wantError(t, read(t, config(s), "binlog.000001", 4, "").fails(), mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, "no privilege")
}

func TestDamagedEventIsNoticed(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	n := r.Find(50, isRows)
	for name, c := range map[string]struct {
		r    *recorded.Recording
		want string
	}{
		"a byte is wrong":   {r.Corrupt(n), "checksum"},
		"the rest is gone":  {r.Truncate(n), "invalid data size"},
		"the server checks": {r.Corrupt(n).Set("master_verify_checksum", "ON"), "crc check"},
	} {
		t.Run(name, func(t *testing.T) {
			err := read(t, config(recorded.Serve(t, c.r)), r.Files[0].Name, 4, "").fails()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

func TestPositionsWrapBeyond4GiB(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	n := r.Find(50, isGTID)
	high := r.Shift(n, 1<<32-r.Events()[n].Start-30) // the GTID event ends above
	end := high.Events()[n].End()
	if end <= 1<<32 {
		t.Fatalf("event ends at %d", end)
	}
	reader := read(t, config(recorded.Serve(t, high)), r.Files[0].Name, 4, "")
	reader.until(at(uint32(r.Events()[n-1].End())))
	e, err := reader.next()
	if err != nil || e.Header.LogPos != uint32(end) || e.Header.EventType != replication.MARIADB_GTID_EVENT {
		t.Errorf("event = %v, %v, want one at %d", e, err, uint32(end))
	}
}

func TestReplacedLogGoesOnAtTheReadersPlace(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	s := recorded.Serve(t, r)
	last := r.Events()[len(r.Events())-1]
	name := r.Files[len(r.Files)-1].Name
	reader := read(t, config(s), name, 4, "")
	reader.until(at(uint32(last.End())))
	more := r.Events()[r.Find(50, isGTID)]
	s.Replace(r.Append(more))
	if e, err := reader.next(); err != nil || uint64(e.Header.LogPos) != last.End()+uint64(len(more.Raw)) {
		t.Errorf("event = %v, %v, want one that ends at %d", e, err, last.End()+uint64(len(more.Raw)))
	}
	gone := *r
	gone.Files = r.Files[:1]
	s.Replace(&gone)
	wantError(t, reader.fails(), 1236, "Could not find first log file name")
}

// The server would otherwise wait for more events for ever, and so would its Close.
func TestServerNoticesThatAReaderIsGone(t *testing.T) {
	s := recorded.Serve(t, recorded.Load(t, recorded.Bank))
	s.Stop(10)
	for range 3 {
		reader := read(t, config(s), "binlog.000001", 4, "")
		reader.until(at(uint32(s.Recording().Events()[9].End())))
		reader.syncer.Close()
	}
	if n := strings.Count(strings.Join(s.Queries(), "\n"), "KILL "); n != 3 {
		t.Errorf("%d KILL statements, want 3: %q", n, s.Queries())
	}
}

func isGTID(e recorded.Event) bool { return e.Type() == replication.MARIADB_GTID_EVENT }

func isRows(e recorded.Event) bool { return e.Type() == replication.WRITE_ROWS_EVENTv1 }

func wantDumps(t *testing.T, s *recorded.Server, want ...recorded.Dump) {
	t.Helper()
	if got := s.Dumps(); !slices.Equal(got, want) {
		t.Errorf("requests = %+v, want %+v", got, want)
	}
}

func wantError(t *testing.T, err error, code uint16, text string) {
	t.Helper()
	e := new(mysql.MyError)
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("error = %v, want %d %s", err, code, text)
	}
}
