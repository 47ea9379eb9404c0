// Virtual time: all tests run in bubbles.

package demux

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/source"
)

// fails fetches until an error, for at most d, and checks it.
func (o *owned) fails(d time.Duration, want error, texts ...string) {
	o.t.Helper()
	for end := time.Now().Add(d); ; {
		got, err := o.fetch(time.Until(end))
		if err == nil && len(got) == 0 {
			continue // the position moves
		}
		if !errors.Is(err, want) {
			o.t.Fatalf("%v: fetched %q, %v, want the error %v", o.ID(), got, err, want)
		}
		for _, text := range append(texts, o.ID().String()) {
			if !strings.Contains(err.Error(), text) {
				o.t.Errorf("error = %v, want %q in it", err, text)
			}
		}
		return
	}
}

// stopped checks that a table hands out nothing more, and is reported with a fault of its own.
func (r *reader) stopped(name string, want error, texts ...string) {
	r.t.Helper()
	r.tables[name].silent(time.Hour)
	for _, tr := range r.src.Report().Trouble {
		if tr.What != "stopped "+name {
			continue
		}
		if !errors.Is(tr.Err, want) || tr.Since.IsZero() {
			r.t.Fatalf("trouble = %+v, want the error %v and its time", tr, want)
		}
		for _, text := range append(texts, "delete the progress of "+name+"/0 from the store") {
			if !strings.Contains(tr.Err.Error(), text) {
				r.t.Errorf("trouble = %v, want %q in it", tr.Err, text)
			}
		}
		return
	}
	r.t.Fatalf("trouble = %+v, want that %s has stopped", r.src.Report().Trouble, name)
}

var errPartial = errors.New("the row image is partial")

func TestFaultStopsOneTableBehindWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		fault := Event{Kind: Fault, Table: "shop.a", Err: errPartial}
		log.commit(rows("shop.a", "a1"), fault, rows("shop.a", "a2"), rows("shop.b", "b1"))
		log.commit(rows("shop.a", "a3"), rows("shop.b", "b2"))
		for range 2 { // also after a restart
			var told bytes.Buffer
			r := read(t, log, store, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))})
			a, b := r.tables["shop.a"], r.tables["shop.b"]
			if a.Restored().Frontier < 2 {
				a.sees(time.Second, "a1")
				a.commit()
			}
			r.stopped("shop.a", errPartial, "behind 0:")
			a.commit()
			if b.Restored().Frontier < 3 {
				b.sees(time.Second, "b1", "b2")
			}
			log.commit(rows("shop.b", "live"))
			b.sees(time.Second, "live")
			b.commit()
			if p := store.at("shop.a"); p.Frontier != 2 {
				t.Errorf("stored %+v of the table that stopped, want frontier 2", p)
			}
			if rep := r.src.Report(); !rep.Ready {
				t.Errorf("report = %+v, want a source that is ready", rep)
			}
			src := r.src
			r.close()
			if rep := src.Report(); len(rep.Trouble) > 0 {
				t.Errorf("report = %+v, want no trouble of a table that is released", rep)
			}
			line := `level=ERROR msg="demux: table stopped; the others go on" table=shop.a error="behind 0: the row image is partial;`
			if all := told.String(); strings.Count(all, line) != 1 || strings.Count(all, "level=ERROR") != 1 {
				t.Errorf("log:\n%s\nwant once %s", all, line)
			}
		}
	})
}

// The log tells the state of a table, or that it cannot be read, before it has rows of the table.
func TestTableThatTheLogOnlyTellsOfIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		r := read(t, log, newMemStore(), Config{})
		log.commit(Event{Kind: Defined, Table: "shop.new", State: "keys"}, rows("shop.new", "n1"))
		log.commit(Event{Kind: Defined, Table: "elsewhere.b", State: "keys"})
		log.commit(Event{Kind: Fault, Table: "shop.broken", Err: errPartial})
		r.accept()
		if len(r.tables) != 3 {
			t.Fatalf("accepted %v, want 3 tables", r.tables)
		}
		r.stopped("shop.broken", errPartial)
		r.tables["shop.new"].sees(time.Second, "n1")
		log.fail(cutOnce())
		time.Sleep(time.Minute)
		if _, states := log.openedAt(); states["shop.new"].State != "keys" {
			t.Errorf("opened with states %v, want that of the new table", states)
		}
	})
}

func TestFaultOfNoTableStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(rows("shop.a", "a1"), Event{Kind: Fault, Err: errPartial})
		r := read(t, log, newMemStore(), Config{})
		r.tables["shop.a"].sees(time.Second, "a1")
		r.tables["shop.a"].fails(time.Second, errPartial)
		r.tables["shop.b"].fails(time.Second, errPartial)
	})
}

var errXA = errors.New("a prepared XA transaction: xid 'x'")

func TestFinalErrorOfTheLogEndsAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		log.commit(rows("shop.a", "a1"))
		r := read(t, log, newMemStore(), Config{})
		log.fail(func() error { return errXA })
		if _, err := r.src.Accept(t.Context()); !errors.Is(err, errXA) || !strings.Contains(err.Error(), "behind 1") {
			t.Errorf("Accept = %v, want the error with its place", err)
		}
		r.tables["shop.a"].sees(time.Second, "a1") // what was read is handed out, and can be committed
		r.tables["shop.a"].commit()
		if rep := r.src.Report(); rep.Ready || rep.State != "failed" {
			t.Errorf("report = %+v, want failed", rep)
		}
	})
}

func TestCutConnectionIsTroubleAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		log.commit(rows("shop.a", "a1"))
		r := read(t, log, newMemStore(), Config{})
		r.tables["shop.a"].sees(time.Second, "a1")
		back := time.Now().Add(time.Minute)
		log.fail(func() error {
			if time.Now().Before(back) {
				return fmt.Errorf("%w: read tcp", errCut)
			}
			return nil
		})
		log.commit(rows("shop.a", "a2"))
		synctest.Wait()
		tr := r.src.Report().Trouble
		if len(tr) != 1 || tr[0].What != "read" || !errors.Is(tr[0].Err, errCut) {
			t.Errorf("trouble = %+v, want the cut at once", tr)
		}
		r.tables["shop.a"].sees(2*time.Minute, "a2")
		if tr := r.src.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %+v, want none", tr)
		}
		if opens, _ := log.openedAt(); len(opens) < 5 || len(opens) > 30 {
			t.Errorf("opened %d times in a minute, want a few times more and more seldom", len(opens))
		}
	})
}

func TestPurgedLogEndsAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a"), newMemStore()
		log.commit(rows("shop.a", "a1"))
		read(t, log, store, Config{}).close()
		log.purged[0] = 1
		src, err := New(log, Config{Package: "demux", Store: store})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil { // the tables come first
			var p source.Partition
			if p, err = src.Accept(t.Context()); err == nil {
				defer p.Release(t.Context()) //nolint:errcheck // the end of the test
			}
		}
		if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "want 0, the oldest is 1") {
			t.Errorf("Accept = %v, want ErrGone with both places", err)
		}
		_ = src.Close() // not all are released yet
	})
}

// The place of a table that is behind is purged: the others go on.
func TestPurgedPlaceOfATableThatIsBehindStopsOnlyThatTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b", "shop.c"), newMemStore()
		r := read(t, log, store, Config{})
		for range 100 {
			log.commit(rows("shop.b", "x"), rows("shop.c", "x"))
		}
		for _, name := range []string{"shop.b", "shop.c"} {
			r.tables[name].fetchAll(t)
			r.tables[name].commit()
		}
		r.close()
		log.purged[0] = 50
		r = read(t, log, store, Config{far: 10})
		r.stopped("shop.a", ErrGone, "want 0, the oldest is 50")
		log.commit(rows("shop.b", "live"))
		r.tables["shop.b"].sees(time.Second, "live")
	})
}

// The shared reader meets a fault of a table that is behind, after its last row.
func TestFaultOfATableThatIsBehindIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		r := read(t, log, newMemStore(), Config{TableBytes: 2000})
		all := numbers("row", 0, 20)
		for _, text := range all {
			log.commit(rows("shop.a", text))
		}
		log.commit(rows("shop.b", "b1"))
		log.commit(Event{Kind: Fault, Table: "shop.a", Err: errPartial})
		r.tables["shop.b"].sees(time.Minute, "b1")
		if len(r.troubles()) != 1 {
			t.Fatal("the table is not behind")
		}
		r.tables["shop.a"].sees(time.Minute, all...)
		r.stopped("shop.a", errPartial)
	})
}

// The same for a new state.
func TestStateOfATableThatIsBehindIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		r := read(t, log, newMemStore(), Config{TableBytes: 2000})
		all := numbers("row", 0, 20)
		for _, text := range all {
			log.commit(rows("shop.a", text))
		}
		log.commit(rows("shop.b", "b1"))
		log.commit(Event{Kind: Defined, Table: "shop.a", State: "keys"})
		r.tables["shop.b"].sees(time.Minute, "b1")
		r.tables["shop.a"].sees(time.Minute, all...)
		r.tables["shop.a"].silent(time.Minute)
		log.fail(cutOnce())
		time.Sleep(time.Minute)
		if _, states := log.openedAt(); states["shop.a"].State != "keys" {
			t.Errorf("opened with states %v, want that of the table", states)
		}
	})
}

// A release that reads rows which an earlier one did not read counts them. Numbers that are stored no longer hold.
func TestNumbersThatNoLongerHoldAreReplacedAndNothingIsLost(t *testing.T) {
	for _, change := range []struct {
		name   string
		events []Event
	}{
		{"more rows", []Event{rows("shop.a", "a1", "a2", "a3", "a4", "a5")}},
		{"fewer rows", nil},
	} {
		t.Run(change.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
				log.commit(rows("shop.b", "b0"))
				log.commit(rows("shop.a", "a1", "a2"))
				log.commit(rows("shop.b", "b1", "b2"))
				log.commit(rows("shop.b", "b3", "b4"))
				r := read(t, log, store, Config{})
				b := r.tables["shop.b"]
				b.sees(time.Second, "b0", "b1", "b2", "b3", "b4")
				b.commitAt(8) // b2 and later are not settled
				r.tables["shop.a"].commitAt(3)
				before := b.Restored().Log
				r.close()
				log.mu.Lock()
				log.txns[1].events = change.events
				log.mu.Unlock()
				r = read(t, log, store, Config{})
				// The first count ends as soon as it is wrong, and the second begins.
				for range 10 {
					for name, o := range r.tables {
						if _, err := o.fetch(time.Second); errors.Is(err, source.ErrLeaving) {
							if err := o.Release(t.Context()); err != nil {
								t.Fatal(err)
							}
							delete(r.tables, name)
						}
					}
					r.accept()
				}
				b = r.tables["shop.b"]
				if b.Restored().Log == before {
					t.Fatalf("the numbers of %s go on", before)
				}
				log.commit(rows("shop.b", "live"))
				b.sees(time.Second, "live")
				b.commit()
			})
		})
	}
}

// A row comes from another domain while the table is to skip by place, and the table has no room. The shared reader passes the
// place before the table's own reader does.
func TestTableThatFallsBehindWhileItSkipsByPlaceLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(2, "shop.a", "shop.b"), newMemStore()
		log.commitIn(0, rows("shop.a", "a0"))
		log.commitIn(0, rows("shop.a", "a1"))
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		a.sees(time.Second, "a0", "a1")
		a.commit() // at 2.0
		r.close()
		for i := range 6 {
			log.commitIn(1, rows("shop.a", fmt.Sprint("c", i, strings.Repeat("x", 500))))
		}
		log.replace("server-2", func(txns []fakeTxn) { // c0 to c5, then a0 and a1
			copy(txns, append(append([]fakeTxn{}, txns[2:]...), txns[:2]...))
		})
		r = read(t, log, store, Config{TableBytes: 1000})
		r.tables["shop.b"].silent(10 * time.Minute) // the other table falls behind, and the shared reader passes 2.6
		a = r.tables["shop.a"]
		var got []string
		for len(got) < 6 {
			texts, err := a.fetch(time.Minute)
			if err != nil {
				t.Fatalf("after %d rows: %v", len(got), err)
			}
			for _, text := range texts {
				got = append(got, text[:2])
			}
			a.commit()
			mk, err := readMark(store.at("shop.a").At)
			if err != nil || len(got) < 6 && !mk.Unnumbered && countsOf(mk.Place)[1] > len(got) {
				t.Fatalf("stored %+v after %q: %v", mk, got, err)
			}
		}
		if want := "c0 c1 c2 c3 c4 c5"; strings.Join(got, " ") != want {
			t.Errorf("fetched %q, want %s", got, want)
		}
		a.silent(time.Minute)
		a.commit()
		if mk, err := readMark(store.at("shop.a").At); err != nil || mk.Unnumbered || mk.Place != "2.6" {
			t.Errorf("stored %+v, %v, want the end of the log", mk, err)
		}
	})
}
