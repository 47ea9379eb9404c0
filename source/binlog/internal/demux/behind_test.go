// Virtual time: all tests run in bubbles.

package demux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/source"
)

// troubles returns what the report says of tables that are behind.
func (r *reader) troubles() (all []source.Trouble) {
	for _, tr := range r.src.Report().Trouble {
		if strings.HasPrefix(tr.What, "behind ") {
			all = append(all, tr)
		}
	}
	return all
}

// The log has 100 rows of a table that nobody fetches, then one row of another table.
func TestTableWithoutRoomStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.slow", "shop.quick")
		r := read(t, log, newMemStore(), Config{TableBytes: 2000})
		slow, quick := r.tables["shop.slow"], r.tables["shop.quick"]
		all := numbers("row", 0, 100)
		for _, text := range all {
			log.commit(rows("shop.slow", text))
		}
		log.commit(rows("shop.quick", "after"))
		quick.sees(2*patience, "after")
		behind := r.troubles()
		if len(behind) != 1 || behind[0].What != "behind shop.slow" || time.Since(behind[0].Since) > time.Second {
			t.Errorf("trouble = %+v, want the table that is behind", behind)
		}
		if held := r.src.Prefetched(); held < 1000 || held > 3000 {
			t.Errorf("%d bytes are held, want about the 2000 that one table may", held)
		}
		slow.sees(time.Minute, all...)
		log.commit(rows("shop.slow", "live"))
		slow.sees(time.Minute, "live")
		if behind := r.troubles(); len(behind) > 0 {
			t.Errorf("trouble = %+v, want none once the table has caught up", behind)
		}
		if opens, _ := log.openedAt(); len(opens) != 2 {
			t.Errorf("the log was opened %d times, want once for all and once for the slow table", len(opens))
		}
		slow.commit()
		quick.commit()
	})
}

// The handlers' database is away for most tables at once. Together they may hold up the reader for as long as one.
func TestManyTablesWithoutRoomStopOthersNoLongerThanOne(t *testing.T) {
	for _, slow := range []int{1, 100} {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := []string{"shop.quick"}
				for i := range slow {
					names = append(names, fmt.Sprint("shop.slow", i))
				}
				log := newFakeLog(1, names...)
				r := read(t, log, newMemStore(), Config{TableBytes: 1000})
				for i := range 20 {
					for _, name := range names[1:] {
						log.commit(rows(name, fmt.Sprint("row", i)))
					}
				}
				log.commit(rows("shop.quick", "after"))
				begun := time.Now()
				r.tables["shop.quick"].sees(time.Hour, "after")
				if took := time.Since(begun); took > 2*patience {
					t.Errorf("the table with room waited %v for %d tables without, want at most %v", took, slow, 2*patience)
				}
				if n := len(r.troubles()); n != slow {
					t.Errorf("%d tables are behind, want %d", n, slow)
				}
				for _, name := range names[1:] {
					r.tables[name].sees(time.Hour, numbers("row", 0, 20)...)
				}
			})
		})
	}
}

// As long as no other table waits for rows, the shared reader waits for room: a second reader would read everything again.
func TestSharedReaderWaitsForRoomWhileNobodyElseIsHungry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.busy", "shop.idle")
		r := read(t, log, newMemStore(), Config{TableBytes: 2000})
		all := numbers("row", 0, 100)
		for _, text := range all {
			log.commit(rows("shop.busy", text))
		}
		time.Sleep(time.Hour)
		r.tables["shop.busy"].sees(time.Minute, all...)
		if opens, _ := log.openedAt(); len(opens) != 1 {
			t.Errorf("the log was opened %d times, want once", len(opens))
		}
	})
}

// The connection is cut before the transaction ends, again and again.
// The last transaction of the log ends at a place that the log cannot name. A reader that waited there would keep its turn.
func TestTableBehindCatchesUpAtAnEndWithoutAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		r := read(t, log, newMemStore(), Config{TableBytes: 2000})
		all := numbers("row", 0, 20)
		for _, text := range all {
			log.commit(rows("shop.a", text))
		}
		log.unname()
		log.commit(rows("shop.b", "b1"))
		log.unname()
		r.tables["shop.b"].sees(time.Minute, "b1")
		if len(r.troubles()) != 1 {
			t.Fatal("the table is not behind")
		}
		r.tables["shop.a"].sees(time.Minute, all...)
		synctest.Wait()
		if open := log.open.Load(); open != 1 {
			t.Errorf("%d readers, want the shared one once the table has caught up", open)
		}
	})
}

// A reader that has read much of a transaction would read all of it again.
func TestReaderInALargeTransactionKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		r := read(t, log, newMemStore(), Config{})
		large, is := r.tables["shop.a"].Partition.(*table)
		other, too := r.tables["shop.b"].Partition.(*table)
		if !is || !too {
			t.Fatal("not a table")
		}
		other.ses.mu.Lock()
		other.ses.waiting = append(other.ses.waiting, other)
		other.ses.mu.Unlock()
		f := &feed{ses: large.ses, only: large, began: 1, n: mostAgain}
		if err := f.await(t.Context(), &tap{t: large}); !errors.Is(err, errYields) {
			t.Errorf("after %d rows: %v, want that the others have their turn", mostAgain-1, err)
		}
		f.n++
		if err := f.await(t.Context(), &tap{t: large}); err != nil {
			t.Errorf("after %d rows: %v, want to wait for room", mostAgain, err)
		}
	})
}

func TestLargeTransactionIsHandedOutInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		r := read(t, log, newMemStore(), Config{TableBytes: 20_000})
		read, most := 0, 3000
		log.fail(func() error {
			if read++; read > most {
				read, most = 0, most+3000
				return fmt.Errorf("%w: read tcp", errCut)
			}
			return nil
		})
		all := numbers("row", 0, 10_000)
		var events []Event
		for _, text := range all {
			event := rows("shop.a", text)
			event.Bytes = 0 // not told
			events = append(events, event)
		}
		log.commit(events...)
		first, err := r.tables["shop.a"].fetch(time.Second)
		if err != nil || len(first) == 0 || len(first) > 1000 {
			t.Fatalf("fetched %d rows, %v, want some", len(first), err)
		}
		if held := r.src.Prefetched(); held > 20_000+1000*200 {
			t.Errorf("%d bytes are held", held)
		}
		r.tables["shop.a"].sees(time.Minute, all[len(first):]...)
	})
}

func TestTablesBehindTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"shop.quick", "shop.a", "shop.b", "shop.c", "shop.d"}
		log := newFakeLog(1, names...)
		r := read(t, log, newMemStore(), Config{TableBytes: 2000, CatchUp: 2})
		quick := r.tables["shop.quick"]
		for i := range 50 {
			for _, name := range names {
				log.commit(rows(name, fmt.Sprint("row", i)))
			}
		}
		quick.sees(5*patience, numbers("row", 0, 50)...)
		if n := len(r.troubles()); n != 4 {
			t.Fatalf("%d tables are behind, want 4", n)
		}
		// All of them are slow: none may keep its reader while others wait.
		got := make(map[string]int)
		for range 500 {
			for _, name := range names[1:] {
				if got[name] == 50 {
					continue
				}
				texts, err := r.tables[name].fetch(time.Second)
				if err != nil {
					t.Fatalf("%s after %d rows: %v", name, got[name], err)
				}
				for _, text := range texts {
					if text != fmt.Sprint("row", got[name]) {
						t.Fatalf("%s: fetched %q after %d rows", name, text, got[name])
					}
					got[name]++
				}
			}
			if open := log.open.Load(); open > 3 {
				t.Fatalf("%d readers, want at most the shared one and 2", open)
			}
		}
		for _, name := range names[1:] {
			if got[name] != 50 {
				t.Errorf("%s: %d rows, want 50", name, got[name])
			}
		}
		synctest.Wait()
		if open := log.open.Load(); open != 1 {
			t.Errorf("%d readers are left, want the shared one: trouble %+v", open, r.troubles())
		}
	})
}

// 50 tables, one of them 1000 rows behind the others, and one more as far behind without rows.
func TestRestartReplaysOnlyTheTableThatIsFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("shop.t%02d", i))
		}
		log, store := newFakeLog(1, append(names, "shop.none")...), newMemStore()
		r := read(t, log, store, Config{})
		all := numbers("row", 0, 1000)
		for i, text := range all {
			log.commit(rows(names[0], text), rows(names[1+i%49], text))
		}
		for i, name := range names {
			if i > 0 {
				r.tables[name].fetchAll(t)
				r.tables[name].commit()
			}
		}
		r.close()
		r = read(t, log, store, Config{far: 500})
		log.commit(rows(names[7], "live"))
		r.tables[names[7]].sees(time.Millisecond, "live")
		opens, _ := log.openedAt()
		slices.Sort(opens)
		if !slices.Equal(opens, []Place{"0", "0", "0", "952"}) { // the first is of the time before
			t.Errorf("the log was opened at %q, want at 952 for all but two tables, and at 0 for these", opens[1:])
		}
		r.tables[names[0]].sees(time.Minute, all...)
		synctest.Wait()
		if open := log.open.Load(); open != 1 {
			t.Errorf("%d readers, want the shared one once both tables have caught up", open)
		}
		log.commit(rows(names[0], "live"))
		r.tables[names[0]].sees(time.Millisecond, "live")
	})
}

// fetchAll fetches until there is nothing for an hour.
func (o *owned) fetchAll(t *testing.T) {
	t.Helper()
	for {
		if _, err := o.fetch(time.Nanosecond); err != nil {
			return
		}
	}
}

// A table is refused, then emptied by Fetch, and only then falls behind: nothing that Fetch does later would make room.
func TestEmptyTableThatFallsBehindIsReadApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		r := read(t, log, newMemStore(), Config{})
		p, is := r.tables["shop.a"].Partition.(*table)
		if !is {
			t.Fatal("not a table")
		}
		log.mu.Lock() // the shared reader must not meet the row first
		p.fallBehind([]chunk{{rows: rows("shop.a", "x").Rows, first: 1}}, mark{Place: "0"})
		log.mu.Unlock()
		if !p.drained() {
			t.Error("a table that holds nothing waits for room")
		}
		p.ses.wait(p)
		log.commit(rows("shop.a", "row"))
		r.tables["shop.a"].sees(time.Minute, "row")
	})
}
