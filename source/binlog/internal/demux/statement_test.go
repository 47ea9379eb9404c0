// Virtual time: all tests run in bubbles.

package demux

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
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
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var (
			mu      sync.Mutex
			running = make(map[string]int)
			all     = make(map[string][]string)
		)
		p, err := pipeline.From(src).Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			text := textOf(m)
			mu.Lock()
			running[m.Stream]++
			if text == "rename" && running[m.Stream] > 1 {
				t.Errorf("%s: the statement runs beside %d rows", m.Stream, running[m.Stream]-1)
			}
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
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
			a.fails(time.Hour, errUnreadable, "ALTER what is '…''…' this '…'")
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
