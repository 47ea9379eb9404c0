// Virtual time: all tests run in bubbles.

package demux

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The other server has the same transaction with the same rows, but other numbers. Only the place of a transaction end is the same.
func TestFailoverInTheMiddleOfATransactionRepeatsNothingBelowTheFrontier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(2, "shop.a", "shop.b"), newMemStore()
		log.commitIn(1, rows("shop.b", "b0"))
		log.commit(rows("shop.b", "b1", "b2"), rows("shop.a", numbers("a", 0, 5)...), rows("shop.b", "b3"), rows("shop.a", numbers("a", 5, 5)...))
		log.commit(ddl("alter", "shop.a"), rows("shop.a", "a10"))
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		begin := a.Restored().Frontier
		a.sees(time.Second, numbers("a", 0, 10)...)
		a.commitAt(begin + 2 + 2 + 7) // b0 and its end, b1 and b2, a0 to a4, b3, a5
		for i, want := range [][]string{numbers("a", 6, 4), {"alter"}, {"a10"}, nil} {
			r.close()
			log.replace(fmt.Sprint("server-", i+2), func(txns []fakeTxn) {
				if i == 0 { // the order of domains differs
					txns[0], txns[1] = txns[1], txns[0]
				}
			})
			r = read(t, log, store, Config{})
			a = r.tables["shop.a"]
			if want == nil {
				a.silent(time.Second)
				break
			}
			var got []string
			for len(got) < len(want) {
				texts, err := a.fetch(time.Second)
				if err != nil {
					t.Fatalf("server %d: fetched %q, want %q: %v", i+2, got, want, err)
				}
				got = append(got, texts...)
				a.commit() // a statement waits for it
			}
			if !slices.Equal(got, want) {
				t.Fatalf("server %d: fetched %q, want %q", i+2, got, want)
			}
		}
	})
}

// A part is counted with a filter. Another filter may count other rows.
func TestPartOfATransactionCountsWithItsFilterAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(2, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.b", "b0", "b1"), rows("shop.a", "a0", "a1"))
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		a.sees(time.Second, "a0", "a1")
		a.commitAt(a.Restored().Frontier + 3)
		r.close()
		log.replace("server-1 with another filter", func(txns []fakeTxn) {
			txns[0].events = txns[0].events[1:]
		})
		log.filter = "another"
		r = read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a0", "a1")
	})
}

// A table that has settled transactions which the new server lacks must not take others for these, now or at the next start.
func TestTableWhosePlaceIsGoneStopsAndKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(2, "shop.a", "shop.b"), newMemStore()
		for i := range 3 {
			log.commit(rows("shop.a", fmt.Sprint("a", i)))
		}
		r := read(t, log, store, Config{})
		a := r.tables["shop.a"]
		a.sees(time.Second, numbers("a", 0, 3)...)
		time.Sleep(time.Minute)
		a.commit()
		r.close()
		log.replace("server-2", func(txns []fakeTxn) {
			gone := Event{Kind: Fault, Table: "shop.a", Err: fmt.Errorf("%w: it has another transaction 3.0", ErrGone)}
			txns[2].events = slices.Concat([]Event{gone}, txns[2].events)
		})
		log.commit(rows("shop.a", "a3"), rows("shop.b", "b0"))
		r = read(t, log, store, Config{})
		_, tables := log.openedAt()
		if tables["shop.a"].Settled != "3.0" || tables["shop.b"].Settled != "" {
			t.Errorf("the log is told of %+v, want the place that shop.a has settled", tables)
		}
		r.tables["shop.b"].sees(time.Second, "b0")
		a = r.tables["shop.a"]
		r.stopped("shop.a", ErrGone, "another transaction 3.0")
		a.commit()
		if m, err := readMark(store.at("shop.a").At); err != nil || m.Place != "3.0" || !m.Unnumbered {
			t.Errorf("stored %+v, %v, want the old place", m, err)
		}
	})
}

func TestFaultTakesTheNumbersOfItsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(Event{Kind: Fault, Table: "shop.a", Err: errCut, Count: 3}, rows("shop.b", "b0"))
		b := read(t, log, newMemStore(), Config{}).tables["shop.b"]
		begin := b.Restored().Frontier
		b.sees(time.Second, "b0")
		if n := b.position - begin; n < 4 {
			t.Errorf("b0 is number %d, want 3", n-1)
		}
	})
}
