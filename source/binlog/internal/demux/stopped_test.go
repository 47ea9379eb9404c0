// Virtual time: all tests run in bubbles.

package demux

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
)

// A pipeline ends with the first error of a Fetch, so that a table that cannot be read on must not return one.
func TestFaultOfOneTableLeavesTheOthersOfThePipelineAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"), Event{Kind: Fault, Table: "shop.a", Err: errPartial}, rows("shop.b", "b1"))
		for run := range 2 { // also after a restart
			src, err := New(log, Config{Package: "demux", Store: store})
			if err != nil {
				t.Fatal(err)
			}
			var (
				mu  sync.Mutex
				got []string
			)
			p, err := pipeline.From(src).Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, textOf(m))
				return nil
			})).Build()
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			time.Sleep(time.Minute)
			log.commit(rows("shop.a", "a2"), rows("shop.b", fmt.Sprint("live", run)))
			time.Sleep(time.Minute)

			s := p.Snapshot()
			if tr := s.Source.Trouble; len(tr) != 1 || tr[0].What != "stopped shop.a" || !errors.Is(tr[0].Err, errPartial) {
				t.Errorf("trouble = %+v, want the table with its fault", tr)
			}
			if !p.Ready() {
				t.Error("the pipeline is not ready, although the other table goes on")
			}
			if a, b := store.at("shop.a").Frontier, store.at("shop.b").Frontier; a != 2 || b != log.end() {
				t.Errorf("stored frontiers %d and %d, want 2 and %d", a, b, log.end())
			}
			select {
			case err := <-ended:
				t.Fatalf("Run has ended: %v", err)
			default:
			}
			stop()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v, want an orderly end", err)
			}
			mu.Lock()
			want := []string{"a1 b1 live0", "live1"}[run]
			if text := strings.Join(got, " "); text != want && text != "b1 a1 live0" {
				t.Errorf("handled %q, want %q", text, want)
			}
			mu.Unlock()
		}
	})
}

// The error says how to read on: this is it.
func TestTableWithoutProgressBeginsWhereTheOthersAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
		log.commit(rows("shop.a", "a1"), rows("shop.b", "b1"))
		log.commit(Event{Kind: Fault, Table: "shop.a", Err: errPartial}, rows("shop.b", "b2"))
		log.commit(rows("shop.a", "a2"), rows("shop.b", "b3"))
		r := read(t, log, store, Config{})
		r.tables["shop.b"].sees(time.Second, "b1", "b2", "b3")
		r.tables["shop.b"].commit()
		r.tables["shop.a"].sees(time.Second, "a1")
		r.stopped("shop.a", errPartial)
		r.close()

		store.forget("shop.a")
		log.commit(rows("shop.a", "a3"), rows("shop.b", "b4"))
		r = read(t, log, store, Config{})
		r.tables["shop.a"].sees(time.Second, "a3")
		r.tables["shop.b"].sees(time.Second, "b4")
		if tr := r.src.Report().Trouble; len(tr) > 0 {
			t.Errorf("trouble = %+v, want none", tr)
		}
	})
}

// Other tables do not wait at a statement for a table that has stopped, once it has settled what it had.
func TestStoppedTableHoldsUpNoStatementThatRunsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog(1, "shop.a", "shop.b")
		log.commit(rows("shop.b", "b1"), Event{Kind: Fault, Table: "shop.b", Err: errPartial})
		log.commit(ddl("drop", "shop.a", "shop.b"))
		log.commit(rows("shop.a", "a1"))
		r := read(t, log, newMemStore(), Config{})
		a, b := r.tables["shop.a"], r.tables["shop.b"]
		b.sees(time.Second, "b1")
		a.silent(time.Minute)
		a.commit()
		a.silent(time.Minute) // b1 is not settled
		b.commit()
		a.sees(time.Second, "drop")
		a.commit()
		a.sees(time.Second, "a1")
		r.stopped("shop.b", errPartial)
	})
}

// A table with a fault commits nothing, so it never learns that another process has taken over.
func TestSourceThatHasLostAllTablesWithoutAFaultFails(t *testing.T) {
	for _, first := range []string{"fault", "loss"} {
		t.Run(first+" first", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, store := newFakeLog(1, "shop.a", "shop.b"), newMemStore()
				r := read(t, log, store, Config{})
				lose := func() {
					log.commit(rows("shop.b", "b1"))
					r.tables["shop.b"].sees(time.Second, "b1")
					if _, err := store.Claim(t.Context(), "shop.b", 0, 0); err != nil {
						t.Fatal(err)
					}
					if _, err := r.tables["shop.b"].Commit(t.Context(), &commit.Progress{Frontier: r.tables["shop.b"].position}); !errors.Is(err, commit.ErrFenced) {
						t.Errorf("commit = %v, want ErrFenced", err)
					}
				}
				if first == "loss" {
					lose()
				}
				log.commit(Event{Kind: Fault, Table: "shop.a", Err: errPartial})
				synctest.Wait()
				if first == "fault" {
					lose()
				}
				if _, err := r.tryAccept(); !errors.Is(err, commit.ErrFenced) {
					t.Errorf("Accept = %v, want that another process has taken over", err)
				}
			})
		})
	}
}
