// Virtual time: all tests run in bubbles.

package demux

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// Two tables change their names, as a tool for online changes of tables does.
func TestStatementRunsAloneAndInItsPlaceInEveryTableThatItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.c", "shop.other")
		log.commit(rows("shop.a", "a1", "a2"), rows("shop.c", "c1"), rows("shop.other", "o1"))
		log.commit(ddl("rename", "shop.a", "shop.c", "elsewhere.b", "shop.a"))
		log.commit(rows("shop.a", "a3"), rows("shop.c", "c2"), rows("shop.other", "o2"))

		src, err := New(log, Config{Package: "demux", Store: newMemStore()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var (
			mu      sync.Mutex
			running = make(map[string]int)
			all     = make(map[string][]string)
			order   []string
		)
		p, err := pipeline.From(src).Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			text := textOf(m)
			mu.Lock()
			running[m.Stream]++
			d, is := m.Native.(*binlog.DDL)
			if is && d.Apply {
				order = append(order, text)
			}
			if text == "rename" && running[m.Stream] > 1 {
				t.Errorf("%s: the statement runs beside %d rows", m.Stream, running[m.Stream]-1)
			}
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			if text == "c1" {
				time.Sleep(5 * time.Second)
			}
			mu.Lock()
			defer mu.Unlock()
			if !is {
				order = append(order, text)
			}
			if text != "rename" && running[m.Stream] > 3 {
				t.Errorf("%s: %q runs beside the statement", m.Stream, text)
			}
			running[m.Stream]--
			all[m.Stream] = append(all[m.Stream], text)
			return nil
		})).Build()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		apply := slices.Index(order, "rename")
		for _, text := range []string{"a1", "a2", "c1", "a3", "c2"} {
			if before := slices.Index(order, text) < apply; before != slices.Contains([]string{"a1", "a2", "c1"}, text) {
				t.Errorf("%s is handled before the statement: %v", text, before)
			}
		}
		slices.Sort(all["shop.a"][:2]) // rows with other keys have no order
		slices.Sort(all["shop.other"])
		for name, want := range map[string]string{"shop.a": "a1 a2 rename a3", "shop.c": "c1 rename c2", "shop.other": "o1 o2"} {
			if got := strings.Join(all[name], " "); got != want {
				t.Errorf("%s: handled %q, want %q", name, got, want)
			}
		}
	})
}

// The rows before a statement are settled and stored, then the statement, then what follows.
func TestStatementWaitsForCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"))
		log.commit(ddl("drop database", "shop.a", "shop.*"))
		log.commit(rows("shop.a", "a2"), rows("shop.b", "b1"))
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		a.sees(time.Second, "a1")
		a.silent(time.Hour)
		a.commit()
		a.sees(time.Second, "drop database")
		a.silent(time.Hour)

		// A restart in between hands it out again, alone, and then goes on.
		r.close()
		r = read(t, log, store, Config{})
		a = r.tables["shop.a"]
		a.sees(time.Nanosecond, "drop database")
		a.silent(time.Hour)
		a.commit()
		a.sees(time.Second, "a2")
		b := r.tables["shop.b"]
		b.silent(time.Hour) // the position moves to the statement
		b.commit()
		b.sees(time.Second, "drop database")
		b.silent(time.Hour)
		b.commit()
		b.sees(time.Second, "b1")
	})
}

// A statement comes once for each of its tables. One message is the one to run it at, also when only some were handled before
// a restart.
func TestStatementHasOneMessageAtWhichToRunIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b", "shop.c"), newMemStore()
		log.commit(ddl("several", "elsewhere.x", "shop.c", "shop.a"))
		log.commit(ddl("one", "shop.b"))
		log.commit(ddl("all of a database", "shop.*"))
		log.commit(ddl("unreadable"))
		r := read(t, log, store, Config{HandOutUnreadable: true})
		next := func(name, want string) {
			t.Helper()
			o := r.tables[name]
			b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			for len(b.Messages) == 0 {
				if err := o.Fetch(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
				if len(b.Messages) == 0 { // its position moves to the statement
					o.commitAt(b.Next)
				}
			}
			d, ok := b.Messages[0].Native.(*binlog.DDL)
			if text := strings.TrimSuffix(want, "!"); !ok || len(b.Messages) != 1 || d.Query != text || d.Apply != (text != want) {
				t.Fatalf("%s: %+v, want %s alone", name, b.Messages[0].Native, want)
			}
			o.commitAt(b.Next)
		}
		next("shop.c", "several!")
		r.close()
		r = read(t, log, store, Config{HandOutUnreadable: true})
		for name, all := range map[string][]string{
			"shop.a": {"several", "all of a database", "unreadable"},
			"shop.b": {"one!", "all of a database", "unreadable"},
			"shop.c": {"all of a database", "unreadable"},
		} {
			for _, text := range all {
				next(name, text)
			}
		}
	})
}

// A statement that renames a table must not run before the old rows of both names, nor after the new ones.
func TestTablesOfAStatementMeetAtIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b", "shop.other"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		log.commit(ddl("rename", "shop.b", "elsewhere.x", "shop.a"))
		log.commit(rows("shop.a", "a2"), rows("shop.b", "b2"), rows("shop.other", "o1"))
		r := read(t, log, store, Config{})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		waits := func(name, on string) {
			t.Helper()
			for _, tr := range r.src.Report().Trouble {
				if tr.What == "statement "+name && strings.HasSuffix(tr.Err.Error(), "for table "+on) {
					return
				}
			}
			t.Errorf("%s does not wait for %s: %+v", name, on, r.src.Report().Trouble)
		}
		b.sees(time.Second, "b1")
		b.commit()
		b.silent(time.Hour)
		waits("shop.b", "shop.a")
		a.sees(time.Second, "a1")
		b.silent(time.Hour)
		a.commit()
		a.silent(time.Hour)
		waits("shop.a", "shop.b")
		b.sees(time.Second, "rename")
		a.silent(time.Hour)
		r.tables["shop.other"].sees(time.Second, "o1")
		r.tables["shop.other"].commit()

		r.close() // the statement has run, and is not settled
		r = read(t, log, store, Config{})
		a, b = r.tables["shop.a"], r.tables["shop.b"]
		a.silent(time.Hour)
		b.sees(time.Second, "rename")
		b.commit()
		b.sees(time.Second, "b2") // it does not wait for the others
		r.close()
		r = read(t, log, store, Config{})
		a = r.tables["shop.a"]
		a.sees(time.Second, "rename")
		a.commit()
		a.sees(time.Second, "a2")
		if trouble := r.src.Report().Trouble; len(trouble) > 0 {
			t.Errorf("trouble %+v at the end", trouble)
		}
	})
}

// The commit of one table wakes the Fetch of another.
func TestTableThatWaitsAtAStatementGoesOnAtTheCommitOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		log.commit(ddl("rename", "shop.b", "shop.a"))
		r := read(t, log, newMemStore(), Config{})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		b.sees(time.Second, "b1")
		b.commit()
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.sees(time.Hour, "rename")
			b.commit()
		}()
		synctest.Wait()
		a.sees(time.Second, "a1")
		a.commit()
		a.sees(time.Second, "rename")
		<-done
	})
}

// The rows of the other table may be behind those for which there is no room.
func TestTableThatWaitsAtAStatementDoesNotHoldUpTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(rows("shop.b", "b1"))
		large := strings.Repeat("x", flushBytes)
		log.commit(ddl("rename", "shop.a", "shop.b"), rows("shop.a", large), rows("shop.a", large), rows("shop.b", "b2"))
		r := read(t, log, newMemStore(), Config{TableBytes: flushBytes})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		a.silent(time.Second) // its position moves to the statement
		a.commit()
		a.silent(time.Second) // it waits for b, which is not hungry
		b.sees(time.Nanosecond, "b1")
		b.commit()
		b.silent(time.Nanosecond)
		b.commit()
		a.sees(time.Nanosecond, "rename")
		a.commit()
		b.sees(time.Nanosecond, "rename")
		b.commit()
		b.sees(time.Nanosecond, "b2")
		a.sees(time.Hour, large, large)
	})
}

// Another process has the table: it decides when its rows are handled.
func TestLostTableHoldsUpNoStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		log.commit(ddl("rename", "shop.b", "shop.a"))
		r := read(t, log, store, Config{})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		b.sees(time.Second, "b1")
		b.commit()
		b.silent(time.Hour)
		if _, err := store.Claim(t.Context(), "shop.a", 0, 0); err != nil {
			t.Fatal(err)
		}
		a.sees(time.Second, "a1")
		if _, err := a.Commit(t.Context(), &commit.Progress{Frontier: a.position}); !errors.Is(err, commit.ErrFenced) {
			t.Fatalf("commit of a lost table: %v", err)
		}
		b.sees(time.Second, "rename")
	})
}

func TestUnreadableStatementStopsEveryTableUnlessItIsHandedOut(t *testing.T) {
	for _, handOut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := newFakeLog(1, "shop.a", "shop.b")
			log.commit(rows("shop.a", "a1"))
			const text = `ALTER what is 'it''s \' secret' this "secret`
			log.commit(ddl(text))
			log.commit(rows("shop.a", "a2"))
			r := read(t, log, newMemStore(), Config{HandOutUnreadable: handOut})
			a, b := r.tables["shop.a"], r.tables["shop.b"]
			a.sees(time.Second, "a1")
			if handOut {
				a.commit()
				a.sees(time.Second, text)
				a.commit()
				a.sees(time.Second, "a2")
				return
			}
			a.fails(time.Hour, errUnreadable, "ALTER what is '…''…' this '…'", "set Config.HandOutUnreadable")
			b.fails(time.Hour, errUnreadable)
			a.commit() // what came before is stored
		})
	}
}

// One table has passed the statement while it was handed out; then it is not, and the other table has it still to come.
func TestUnreadableStatementThatIsSettledStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(ddl("ALTER what is this"))
		log.commit(rows("shop.a", "a1"))
		r := read(t, log, store, Config{HandOutUnreadable: true})
		a := r.tables["shop.a"]
		a.sees(time.Second, "ALTER what is this")
		a.commit()
		a.sees(time.Second, "a1")
		a.commit()
		r.close()
		r = read(t, log, store, Config{})
		r.tables["shop.b"].fails(time.Minute, errUnreadable)
		log.commit(rows("shop.a", "a2"))
		r.tables["shop.a"].sees(time.Second, "a2")
	})
}

func TestStatementMakesATableKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a")
		r := read(t, log, newMemStore(), Config{})
		log.commit(ddl("create table new", "shop.new"))
		log.commit(rows("shop.new", "n1"))
		r.accept()
		n := r.tables["shop.new"]
		if n == nil {
			t.Fatal("the table was not accepted")
		}
		n.sees(time.Second, "create table new") // at once: there is nothing before it
		n.silent(time.Hour)
		n.commit()
		n.sees(time.Second, "n1")
	})
}
