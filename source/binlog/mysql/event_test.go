package mysql_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-mysql-org/go-mysql/replication"

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

// Streams are named "database.table".
func TestTablesWhoseNamesReadTheSameAreNotMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{}, `a*.*`)
		m := newMaker(t, s, "a")
		m.transaction(m.insert("a", "b.c", [3][]byte{[]byte("first")})...)
		m.transaction(m.insert("a.b", "c", [3][]byte{[]byte("second")})...)
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if rows := rowsOf(all, "a.b.c"); len(rows) != 1 || fmt.Sprintf("%s", rows[0].After[1]) != "first" {
			t.Errorf("rows %v, want the first alone", rows)
		}
		if err := faultsOf(all)["a.b.c"]; err == nil || !strings.Contains(err.Error(), "same name") {
			t.Errorf("fault %v, want one about the names", err)
		}
	})
}
