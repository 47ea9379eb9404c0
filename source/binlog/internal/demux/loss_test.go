// Virtual time: all tests run in bubbles.

package demux

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

func TestFencedTableIsLostAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		r := read(t, log, store, Config{})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		a.sees(time.Second, "a1")
		if _, err := store.Claim(t.Context(), "shop.a", 0, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Commit(t.Context(), &commit.Progress{Frontier: a.position}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		if l := <-a.Leaving(); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		if _, err := a.fetch(time.Second); !errors.Is(err, source.ErrLeaving) {
			t.Errorf("fetch = %v, want ErrLeaving", err)
		}
		if l := r.src.Report().Losses; l.Count != 1 || l.Last != a.ID() || l.Why == "" {
			t.Errorf("losses = %+v, want the table", l)
		}
		if err := a.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		delete(r.tables, "shop.a")
		b.sees(time.Second, "b1")
		log.commit(rows("shop.a", "a2"), rows("shop.b", "b2"))
		b.sees(time.Second, "b2")
		b.commit()
		r.accept()
		if r.tables["shop.a"] != nil {
			t.Error("the table was accepted again: two processes would take it from each other for ever")
		}
		// Not even from another server.
		log.replace("server-2", nil)
		<-b.Leaving()
		b.commit()
		if err := b.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		delete(r.tables, "shop.b")
		time.Sleep(time.Minute)
		r.accept()
		log.commit(rows("shop.a", "a3"), rows("shop.b", "b3"))
		if len(r.tables) != 1 {
			t.Fatalf("accepted %v, want the table that is not lost", r.tables)
		}
		r.tables["shop.b"].sees(time.Second, "b3")
		r.accept()
		if r.tables["shop.a"] != nil {
			t.Error("the lost table was accepted again, because of its rows")
		}
	})
}

// The table is lost while Fetch hands out rows: their bytes must not be given back twice.
func TestTableThatIsLostDuringFetchHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(rows("shop.a", "a1", "a2"))
		r := read(t, log, newMemStore(), Config{})
		p, is := r.tables["shop.a"].Partition.(*table)
		if !is {
			t.Fatal("not a table")
		}
		_, _ = p.swap()
		p.fill(&source.Batch{MaxMessages: 10, MaxBytes: 1000}, 1)
		p.lose("fenced")
		_, _ = p.swap()
		if held, full := r.src.Prefetched(), r.src.full.Load(); held != 0 || full != 0 {
			t.Errorf("%d bytes of %d tables are held, want none", held, full)
		}
	})
}

func TestSourceThatHasLostAllTablesFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a"), newMemStore()
		log.commit(rows("shop.a", "a1"))
		r := read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a1")
		other := read(t, log, store, Config{})
		if _, err := r.tables["shop.a"].Commit(t.Context(), &commit.Progress{Frontier: 2}); !errors.Is(err, commit.ErrFenced) {
			t.Errorf("commit = %v, want ErrFenced", err)
		}
		if _, err := r.src.Accept(t.Context()); !errors.Is(err, commit.ErrFenced) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("Accept = %v, want that another process has taken over", err)
		}
		other.tables["shop.a"].sees(time.Second, "a1")
		other.tables["shop.a"].commit()
	})
}

func TestSourceThatWasReplacedAcceptsNoNewTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a"), newMemStore()
		r := read(t, log, store, Config{})
		r.tables["shop.a"].silent(time.Second)
		other := read(t, log, store, Config{})
		log.commit(rows("shop.new", "n1"))
		time.Sleep(time.Second)
		// One of the two registers the table; the one that was replaced must not keep it.
		var err error
		for err == nil {
			if _, err = r.tryAccept(); errors.Is(err, errNothing) {
				t.Fatal("the source that was replaced goes on")
			}
		}
		if !errors.Is(err, commit.ErrFenced) {
			t.Errorf("Accept = %v, want that another process has taken over", err)
		}
		_ = other
	})
}

func TestDroppedTableWithRowsToSettleIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.old"), newMemStore()
		log.commit(rows("shop.old", "o1"))
		r := read(t, log, store, Config{})
		for i := range 10 {
			log.commit(rows("shop.a", numbers("a", i, 1)...))
		}
		r.tables["shop.a"].fetchAll(t)
		r.tables["shop.a"].commit()
		r.close()
		log.tables = []string{"shop.a"}
		r = read(t, log, store, Config{})
		if r.tables["shop.old"] == nil {
			t.Fatal("the table that was dropped is not accepted")
		}
		r.tables["shop.old"].sees(time.Second, "o1")
	})
}

// Somebody deletes the progress of a table that was dropped, such as the copy of a tool for online changes.
func TestDroppedTableWithoutProgressIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop._a_old"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop._a_old", "o1"))
		r := read(t, log, store, Config{})
		for _, o := range r.tables {
			o.fetchAll(t)
			o.commit()
		}
		r.close()
		log.tables = []string{"shop.a"}
		store.forget("shop._a_old")
		for range 2 {
			r = read(t, log, store, Config{})
			if r.tables["shop._a_old"] != nil || len(r.tables) != 1 {
				t.Fatalf("accepted %v, want the table that exists alone", r.tables)
			}
			r.tables["shop.a"].silent(time.Minute)
			r.close()
		}
		if text := store.at(catalogueStream).At; strings.Contains(text, "_a_old") {
			t.Errorf("the list of tables is %s, want it without the one that was dropped", text)
		}

		// It is made again.
		log.commit(rows("shop._a_old", "o2"), rows("shop.a", "a2"))
		r = read(t, log, store, Config{})
		r.tables["shop._a_old"].sees(time.Second, "o2")
		r.tables["shop.a"].sees(time.Second, "a2")
	})
}

// A filter that leaves a table out leaves its progress alone.
func TestTableThatIsNoLongerWantedKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		r := read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a1")
		r.tables["shop.a"].commit()
		r.close()
		all := log.wants
		log.wants = func(table string) bool { return table == "shop.a" }
		log.replace("server-1 filter a", nil)
		r = read(t, log, store, Config{})
		if len(r.tables) != 1 {
			t.Fatalf("accepted %v, want only the wanted table", r.tables)
		}
		log.commit(rows("shop.a", "a2"))
		r.tables["shop.a"].sees(time.Second, "a2")
		r.tables["shop.a"].silent(time.Minute)
		r.tables["shop.a"].commit()
		r.close()
		log.wants = all
		log.replace("server-1", nil)
		r = read(t, log, store, Config{})
		r.tables["shop.b"].sees(time.Second, "b1")
		r.tables["shop.a"].silent(time.Minute) // by place
	})
}

func TestDamagedProgressIsAnErrorThatNamesIt(t *testing.T) {
	for stream, at := range map[string]string{"shop.a": `{"number":3}`, "shop.b": "3 apples", catalogueStream: `{"begin":""}`} {
		synctest.Test(t, func(t *testing.T) {
			log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
			read(t, log, store, Config{}).close()
			p := store.at(stream)
			p.At = at
			if err := store.Save(t.Context(), stream, 0, p); err != nil {
				t.Fatal(err)
			}
			src, err := New(log, Config{Package: "demux", Store: store})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := src.Accept(t.Context()); !errors.Is(err, commit.ErrCorrupt) || !strings.Contains(err.Error(), stream) {
				t.Errorf("Accept = %v, want ErrCorrupt of %s", err, stream)
			}
			if err := src.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewReturnsAllErrorsOfTheConfiguration(t *testing.T) {
	_, err := New(newFakeLog(1), Config{TableBytes: -1, QueueBytes: -1, CatchUp: -1, IdleInterval: -1, IdleBytes: -1})
	for _, want := range []string{"Package", "Store", "TableBytes", "QueueBytes", "CatchUp", "IdleInterval", "IdleBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %s in it", err, want)
		}
	}
}

func TestClosedSourceAcceptsNothing(t *testing.T) {
	src, err := New(newFakeLog(1, "shop.a"), Config{Package: "demux", Store: newMemStore()})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if _, err := src.Accept(context.Background()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Accept = %v, want that the source is closed", err)
	}
	if err := src.Close(); err == nil {
		t.Error("the second Close returned nil")
	}
}

// FuzzReadMark reads whatever stands in a store.
func FuzzReadMark(f *testing.F) {
	f.Add(mark{Number: 7, Place: "0-1-5", State: "keys", Unnumbered: true}.text())
	f.Add(mark{Number: 7, Place: "0-1-5", Part: part{"0-1-6", 3, "x"}}.text())
	f.Add(`{"number":-1,"place":"x"}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readMark(text)
		if err != nil {
			return
		}
		again, err := readMark(m.text())
		if err != nil || again != m {
			t.Errorf("%q is read as %+v, and then as %+v, %v", text, m, again, err)
		}
	})
}
