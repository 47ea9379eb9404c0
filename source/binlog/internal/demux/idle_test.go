// Virtual time: all tests run in bubbles.

package demux

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// A pipeline commits a partition when its position has moved. 1,000 idle tables must not all do that every second.
func TestIdleTablesFollowTheReaderSpreadOverTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tables = 1000
		names := []string{"shop.busy"}
		for i := range tables {
			names = append(names, fmt.Sprint("shop.t", i))
		}
		log := newFakeLog(1, names...)
		before := runtime.NumGoroutine()
		r := read(t, log, newMemStore(), Config{})
		if n := runtime.NumGoroutine() - before; n > 5 {
			t.Errorf("%d goroutines for %d tables", n, tables)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var (
			mu    sync.Mutex
			moves = make(map[int64]int) // by second
			fetch sync.WaitGroup
			start = time.Now()
		)
		for _, o := range r.tables {
			busy := o.ID().Stream == "shop.busy"
			fetch.Go(func() {
				for {
					if _, err := o.fetchIn(ctx); err != nil {
						return
					}
					if !busy {
						mu.Lock()
						moves[int64(time.Since(start)/time.Second)]++
						mu.Unlock()
					}
				}
			})
		}
		for range 600 {
			log.commit(rows("shop.busy", "x"))
			time.Sleep(100 * time.Millisecond)
		}
		fetch.Wait()
		sum := 0
		for second, n := range moves {
			sum += n
			if n > 110 {
				t.Errorf("second %d: %d idle tables moved, want at most 110", second, n)
			}
		}
		if sum < 5*tables {
			t.Errorf("%d moves in a minute, want each of %d tables to move every 10 s", sum, tables)
		}
		for _, o := range r.tables {
			if behind := log.end() - o.position; o.ID().Stream != "shop.busy" && behind > 2*11*10 {
				t.Errorf("%v is %d behind, more than 11 s", o.ID(), behind)
				break
			}
			if lagger, is := o.Partition.(source.Lagger); !is {
				t.Fatal("a table is no source.Lagger")
			} else if end, known := lagger.End(); !known || end != o.position {
				t.Errorf("%v: End = %d, %t, want its position %d", o.ID(), end, known, o.position)
				break
			}
		}
	})
}

// fetchIn fetches once.
func (o *owned) fetchIn(ctx context.Context) (int, error) {
	b := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 30}
	if err := o.Fetch(ctx, &b); err != nil {
		return 0, err //nolint:wrapcheck // a test
	}
	o.position = b.Next
	return len(b.Messages), nil
}

func TestIdleTableFollowsFastReaderByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.busy", "shop.idle"), newMemStore()
		large := rows("shop.busy", "x")
		large.Bytes = 1 << 20
		for range 300 {
			log.commit(large)
		}
		r := read(t, log, store, Config{IdleInterval: time.Hour})
		idle := r.tables["shop.idle"]
		// No time passes.
		for {
			if _, err := idle.fetch(time.Nanosecond); err != nil {
				break
			}
		}
		if behind := log.end() - idle.position; behind > 2*2*64 {
			t.Errorf("the idle table is %d transactions of 1 MiB behind, want at most 64", behind/2)
		}
		idle.commit()
		if mk, err := readMark(store.at("shop.idle").At); err != nil || mk.Number != idle.position-1 {
			t.Errorf("stored %+v, want the transaction end %d: %v", mk, idle.position-1, err)
		}
		r.tables["shop.busy"].fetchAll(t)
	})
}

func TestIdleTableGivesMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		r := read(t, log, newMemStore(), Config{})
		p, is := r.tables["shop.a"].Partition.(*table)
		if !is {
			t.Fatal("not a table")
		}
		all := numbers("row", 0, 2*mostReused)
		for _, text := range all {
			log.commit(rows("shop.a", text))
		}
		synctest.Wait()
		r.tables["shop.a"].sees(time.Second, all...)
		r.tables["shop.a"].silent(time.Second)
		if n := max(cap(p.mine), cap(p.queue)); n < len(all) {
			t.Fatalf("the queue has memory for %d chunks", n)
		}
		r.tables["shop.a"].silent(25 * time.Second)
		if n := max(cap(p.mine), cap(p.queue)); n != 0 {
			t.Errorf("the queue keeps memory for %d chunks", n)
		}
	})
}

// A transaction end is stored that the log can name; a restart begins there and numbers on.
func TestEndWithoutAPlaceIsNoPlaceToRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a"), newMemStore()
		log.commit(rows("shop.a", "a1"))
		for i := range 3 {
			log.commit(rows("shop.a", fmt.Sprint("a", 2+i)))
			log.unname()
		}
		r := read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a1", "a2", "a3", "a4")
		r.tables["shop.a"].commitAt(7) // a4
		if mk, err := readMark(store.at("shop.a").At); err != nil || mk.Number != 2 || mk.Place != "1" {
			t.Errorf("stored %+v, %v, want the end of the first transaction", mk, err)
		}
		log.fail(cutOnce())
		r.tables["shop.a"].silent(time.Minute) // read again from the same place
		r.close()
		r = read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a4")
		log.commit(rows("shop.a", "a5"))
		r.tables["shop.a"].sees(time.Second, "a5")
		r.tables["shop.a"].commit()
		if mk, err := readMark(store.at("shop.a").At); err != nil || mk.Number != 10 || mk.Place != "5" {
			t.Errorf("stored %+v, %v, want the end of the last transaction", mk, err)
		}
	})
}

// A state that comes with such an end counts from the next end that the log can name.
func TestStateOfAnEndWithoutAPlaceIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(Event{Kind: Defined, Table: "shop.a", State: "keys"}, rows("shop.a", "a1"))
		log.unname()
		log.commit(rows("shop.b", "b1"))
		r := read(t, log, newMemStore(), Config{})
		r.tables["shop.a"].sees(time.Second, "a1")
		log.fail(cutOnce())
		time.Sleep(time.Minute)
		if opens, states := log.openedAt(); states["shop.a"].State != "keys" || opens[len(opens)-1] != "2" {
			t.Errorf("opened at %q with states %v, want the state of the table", opens, states)
		}
	})
}

// cutOnce cuts a connection once.
func cutOnce() func() error {
	cut := false
	return func() error {
		if cut {
			return nil
		}
		cut = true
		return fmt.Errorf("%w: read tcp", errCut)
	}
}

// What the log has told of a table comes back at the place where it begins.
func TestStateOfATableIsThatOfItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		told := func(state string) Event { return Event{Kind: Defined, Table: "shop.a", State: state} }
		log.commit(told("one"), rows("shop.a", "a1"))
		log.commit(told("two"), rows("shop.a", "a2"))
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		a.sees(time.Second, "a1", "a2")
		for _, want := range []struct {
			frontier int64
			state    string
		}{{1, ""}, {2, "one"}, {3, "one"}, {4, "two"}} {
			a.commitAt(want.frontier)
			r.close()
			r = read(t, log, store, Config{})
			a = r.tables["shop.a"]
			if _, states := log.openedAt(); states["shop.a"].State != want.state {
				t.Errorf("opened at frontier %d with state %q, want %q", want.frontier, states["shop.a"], want.state)
			}
			log.fail(cutOnce()) // opened again behind the last transaction
			time.Sleep(time.Minute)
			if _, states := log.openedAt(); states["shop.a"].State != "two" {
				t.Errorf("opened again with state %q, want the last one", states["shop.a"])
			}
		}
	})
}

var errAway = errors.New("no route to the store")

// The store is away for 30 s: commits fail until it is back, and the new table waits. All other rows are handed out.
func TestStoreThatIsAwayStopsOnlyCommitsAndNewTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a"), newMemStore()
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		store.mu.Lock()
		back := time.Now().Add(30 * time.Second)
		store.broken = func(string) error {
			if time.Now().Before(back) {
				return errAway
			}
			return nil
		}
		store.mu.Unlock()
		log.commit(rows("shop.a", "a1"))
		log.commit(rows("shop.a", "a2"), rows("shop.new", "n1"), rows("shop.newer", "m1"), rows("shop.a", "a3"))
		log.commit(ddl("alter", "shop.*"))
		a.sees(time.Second, "a1", "a2", "a3")
		if _, err := a.Commit(context.Background(), &commit.Progress{Frontier: a.position}); !errors.Is(err, errAway) {
			t.Errorf("commit = %v, want the error of the store", err)
		}
		log.commit(rows("shop.new", "n2"), rows("shop.newer", "m2"))
		synctest.Wait()
		tr := r.src.Report().Trouble
		if len(tr) != 1 || tr[0].What != "register shop.new" || !errors.Is(tr[0].Err, errAway) {
			t.Errorf("trouble = %+v, want the new table", tr)
		}
		time.Sleep(time.Minute)
		r.accept()
		for name, of := range map[string]string{"shop.new": "n", "shop.newer": "m"} {
			o := r.tables[name]
			o.sees(time.Second, of+"1")
			o.commit()
			o.sees(time.Second, "alter")
			o.commit()
			o.sees(time.Second, of+"2")
			o.commit()
		}
		a.commit()
		a.sees(time.Second, "alter")
		a.commit()
		if tr := r.src.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %+v, want none", tr)
		}
		synctest.Wait()
		if open := log.open.Load(); open != 1 {
			t.Errorf("%d readers, want the shared one once the new tables have caught up", open)
		}
	})
}

// The store refuses new tables alone, so that the other table is committed past their rows. Then the process is killed.
func TestRestartFindsNewTablesThatTheStoreDidNotTake(t *testing.T) {
	for _, refused := range []string{"shop.new", catalogueStream} {
		t.Run(refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, store := newFakeLog(1, "shop.a"), newMemStore()
				r := read(t, log, store, Config{})
				store.mu.Lock()
				store.broken = func(stream string) error {
					if stream == refused {
						return errAway
					}
					return nil
				}
				store.mu.Unlock()
				log.commit(rows("shop.a", "a1"))
				log.commit(rows("shop.new", "n1"), rows("shop.newer", "m1"))
				log.commit(rows("shop.a", "a2"))
				r.tables["shop.a"].sees(time.Second, "a1", "a2")
				r.tables["shop.a"].commit()
				if at, err := readMark(store.at("shop.a").At); err != nil || at.Place != "1" {
					t.Errorf("stored the place %+v, %v, want one before the new tables", at, err)
				}
				if p := store.at("shop.newer"); p.At != "" {
					t.Errorf("stored %+v of the second table, before the first one is there", p)
				}
				r.close()
				store.mu.Lock()
				store.broken = nil
				store.mu.Unlock()
				r = read(t, log, store, Config{})
				if len(r.tables) != 3 {
					t.Fatalf("accepted %v, want the new tables, too", r.tables)
				}
				r.tables["shop.new"].sees(time.Second, "n1")
				r.tables["shop.newer"].sees(time.Second, "m1")
				r.tables["shop.a"].silent(time.Minute)
				r.tables["shop.a"].commit()
				if at, err := readMark(store.at("shop.a").At); err != nil || at.Place != "3" {
					t.Errorf("stored the place %+v, %v, want the end of the log", at, err)
				}
			})
		})
	}
}
