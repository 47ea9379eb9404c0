package keyed

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// waits is an executor that records its turns and how its items end. Its tests run in a bubble.
type waits struct {
	e *Executor[string]

	mu       sync.Mutex
	turns    []string // the items of each turn; guarded by mu, as are the next two fields
	finished []string
	dropped  []string
}

// newWaits makes an executor with one queue. It calls run after it has recorded the turn.
func newWaits(t *testing.T, workers, maxTurn int, run func(*Turn[string]) Result) (*waits, *Queue[string]) {
	t.Helper()
	w := &waits{}
	w.e = newExecutor(t, Config[string]{
		Workers: workers,
		MaxTurn: maxTurn,
		Run: func(t *Turn[string]) Result {
			w.note(&w.turns, t.Items...)
			return run(t)
		},
		Finish: func(_ *Queue[string], items []*string) {
			for _, x := range items {
				w.note(&w.finished, x)
			}
		},
	})
	return w, w.e.Open(ID{}, nil)
}

func (w *waits) note(to *[]string, items ...*string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, x := range items {
		names = append(names, *x)
	}
	*to = append(*to, strings.Join(names, "+"))
}

func (w *waits) drop(x *string) { w.note(&w.dropped, x) }

// submit submits items whose names are "lane: item" or "lane lane: item".
func (w *waits) submit(t *testing.T, q *Queue[string], items ...string) {
	t.Helper()
	for _, x := range items {
		lanes, name, _ := strings.Cut(x, ": ")
		keys := strings.Fields(lanes)
		*q.Batch().Add(keys[0], keys[1:]...) = name
	}
	submit(t, q)
}

// want waits until nothing more happens without the test, and compares the events since the last call. Turns and items
// are one string each, separated by spaces.
func (w *waits) want(t *testing.T, turns, finished, dropped string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range []struct {
		what string
		got  *[]string
		want string
	}{{"turns", &w.turns, turns}, {"finished", &w.finished, finished}, {"dropped", &w.dropped, dropped}} {
		if got := strings.Join(*x.got, " "); got != x.want {
			t.Errorf("%s: %q, want %q", x.what, got, x.want)
		}
		*x.got = nil
	}
}

// close closes the executor and checks that no token is left.
func (w *waits) close(t *testing.T) {
	t.Helper()
	closeExecutor(t, w.e)
	if n := w.e.Stats().Waits; n != 0 {
		t.Errorf("%d tokens still wait", n)
	}
}

func complete(t *testing.T, e *Executor[string], r Result, tokens ...*Token[string]) {
	t.Helper()
	for _, token := range tokens {
		token.Result = r
	}
	if err := e.Complete(tokens...); err != nil {
		t.Error(err)
	}
}

// waitsFor returns a Run whose turns wait for the token of their first item, or are done if it has none.
func waitsFor(tokens map[string]*Token[string]) func(*Turn[string]) Result {
	var mu sync.Mutex
	return func(t *Turn[string]) Result {
		mu.Lock()
		defer mu.Unlock()
		token := tokens[*t.Items[0]]
		if token == nil {
			return Result{Done: len(t.Items)}
		}
		delete(tokens, *t.Items[0])
		t.Await = token
		return Result{}
	}
}

// The events are C, a call of Complete; R, the return of Run; and F, a fence, after which the next epoch submits an
// item of the key. Until both C and R have happened the lane waits, in any epoch. The token's result is applied once,
// and after a fence no turn of the old epoch starts.
func TestCompleteEndsTheWaitOnceInEveryOrderOfEvents(t *testing.T) { // I1, I2, I7
	for _, order := range []string{"CR", "RC", "CRF", "RCF", "CFR", "RFC", "FCR", "FRC"} {
		for _, done := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s/done=%d", order, done), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { playOrder(t, order, done) })
			})
		}
	}
}

func playOrder(t *testing.T, order string, done int) {
	t.Helper()
	token, returns := &Token[string]{}, make(chan struct{})
	first := true
	w, q := newWaits(t, 4, 1, func(t *Turn[string]) Result {
		if !first {
			return Result{Done: 1}
		}
		first = false
		<-returns
		t.Await = token
		return Result{Hold: true, Next: Together(2)} // both ignored
	})
	w.submit(t, q, "k: a", "k: b")
	w.want(t, "a", "", "")
	var completed, returned, fenced bool
	newest := q
	for _, event := range order {
		turns, finished, dropped := "", "", ""
		waited := !completed || !returned
		switch event {
		case 'C':
			completed = true
			complete(t, w.e, Result{Done: done}, token)
		case 'R':
			returned = true
			close(returns)
		case 'F':
			fenced = true
			q.Fence(w.drop)
			newest = w.e.Open(ID{}, nil)
			w.submit(t, newest, "k: next")
			if waited {
				dropped = "b"
			} else {
				turns, finished = "next", "next"
			}
		}
		if waited && completed && returned {
			switch {
			case fenced && done == 1:
				turns, finished = "next", "a next"
			case fenced:
				turns, finished, dropped = "next", "next", "a"
			case done == 1:
				turns, finished = "b", "a b"
			default:
				turns, finished = "a b", "a b"
			}
		}
		time.Sleep(time.Minute)
		w.want(t, turns, finished, dropped)
		if completed && returned {
			continue
		}
		want, state := Counts{Running: 1}, Running
		if returned {
			want, state = Counts{Waiting: 1}, Waiting
		}
		newest.Lanes(func(l Lane[string]) bool {
			if items := map[bool]int{false: 2, true: 1}[fenced]; l.State != state || l.Len != items || l.EarlierEpoch != fenced {
				t.Errorf("after %c of %s: %+v, want %v with %d items", event, order, l, state, items)
			}
			return true
		})
		if c := q.Counts(); c.Running != want.Running || c.Waiting != want.Waiting {
			t.Errorf("after %c of %s: %+v", event, order, c)
		}
		if err := q.Wait(cancelled()); err == nil {
			t.Errorf("after %c of %s: Wait returned too early", event, order)
		}
	}
	if err := q.Wait(cancelled()); err != nil {
		t.Errorf("Wait = %v when no turn runs or waits", err)
	}
	w.close(t)
}

func TestWaitingLanesHoldNoWorker(t *testing.T) { // I6
	synctest.Test(t, func(t *testing.T) {
		const lanes = 1000
		tokens := make([]*Token[string], lanes)
		byItem := make(map[string]*Token[string])
		items := make([]string, lanes)
		for i := range tokens {
			tokens[i] = &Token[string]{}
			byItem[fmt.Sprint(i)] = tokens[i]
			items[i] = fmt.Sprintf("k%d: %d", i, i)
		}
		w, q := newWaits(t, 1, 1, waitsFor(byItem))
		w.submit(t, q, items...)
		synctest.Wait()
		w.turns = nil
		begun := time.Now()
		w.submit(t, q, "other: x", "other: y")
		w.want(t, "x y", "x y", "")
		if d := time.Since(begun); d != 0 {
			t.Errorf("another lane waited %v for lanes that wait for Complete", d)
		}
		if c := q.Counts(); c.Waiting != lanes || c.Running != 0 || c.Finished != 2 {
			t.Errorf("%+v, want %d waiting", c, lanes)
		}
		if s := w.e.Stats(); s.Waits != lanes || s.Running != 0 || s.Idle != 1 || s.ReadyLanes != 0 || s.ParkedLanes != 0 {
			t.Errorf("%+v, want %d waits and an idle worker", s, lanes)
		}
		if err := q.Wait(cancelled()); err == nil {
			t.Error("Wait returned before Complete")
		}
		complete(t, w.e, Result{Done: 1}, tokens...)
		if err := q.Wait(cancelled()); err != nil {
			t.Errorf("after Complete of all, Wait = %v", err)
		}
		if c := q.Counts(); c.Finished != lanes+2 || c.Waiting != 0 || w.e.Stats().Waits != 0 {
			t.Errorf("after Complete of all: %+v, %+v", c, w.e.Stats())
		}
		slices.Sort(w.finished)
		if n := len(slices.Compact(w.finished)); n != lanes {
			t.Errorf("%d items finished, want %d", n, lanes)
		}
		w.close(t)
	})
}

// Tokens complete in another order than they were set: each lane must still find its own.
func TestTokensAreCompletedInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := map[string]*Token[string]{"a": {Note: 1}, "b": {Note: 2}, "c": {Note: 3}, "d": {Note: 4}}
		w, q := newWaits(t, 4, 1, waitsFor(maps.Clone(tokens)))
		w.submit(t, q, "k: a", "l m: b", "n: c", "o: d")
		synctest.Wait()
		w.turns = nil
		for _, item := range []string{"a", "d", "c", "b"} {
			complete(t, w.e, Result{Done: 1}, tokens[item])
			w.want(t, "", item, "")
			q.Lanes(func(l Lane[string]) bool {
				if want := tokens[l.Head].Note; l.Note != want {
					t.Errorf("after Complete of %s: lane %s has Note %d, want %d", item, l.Key, l.Note, want)
				}
				return true
			})
		}
		w.close(t)
	})
}

func TestFinishIsCalledBeforeACompletedLaneContinues(t *testing.T) { // I1
	synctest.Test(t, func(t *testing.T) {
		token := &Token[string]{}
		finishes := make(chan struct{})
		var started []string
		e := newExecutor(t, Config[string]{
			Workers: 4,
			Run: func(t *Turn[string]) Result {
				started = append(started, *t.Items[0])
				if *t.Items[0] == "a" {
					t.Await = token
					return Result{}
				}
				return Result{Done: 1}
			},
			Finish: func(_ *Queue[string], items []*string) {
				if *items[0] == "a" {
					<-finishes
				}
			},
		})
		q := e.Open(ID{}, nil)
		*q.Batch().Add("k"), *q.Batch().Add("k") = "a", "b"
		submit(t, q)
		synctest.Wait()
		go complete(t, e, Result{Done: 1}, token)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(started) != 1 {
			t.Errorf("%q started during Finish of the item before", started[1:])
		}
		close(finishes)
		synctest.Wait()
		if !slices.Equal(started, []string{"a", "b"}) {
			t.Errorf("started %q", started)
		}
		closeExecutor(t, e)
	})
}

func TestItemOfSeveralLanesHoldsAllOfThemUntilComplete(t *testing.T) {
	for _, r := range []struct {
		Result
		turns, finished string
	}{{Result{Done: 1}, "k1 l1", "kl k1 l1"}, {Result{}, "kl k1 l1", "kl k1 l1"}} {
		t.Run(fmt.Sprint("done=", r.Done), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := &Token[string]{}
				w, q := newWaits(t, 1, 1, waitsFor(map[string]*Token[string]{"kl": token}))
				w.submit(t, q, "k l: kl", "k: k1", "l: l1", "m: m1")
				w.want(t, "kl m1", "m1", "")
				if c := q.Counts(); c.Waiting != 1 || c.Ready != 2 {
					t.Errorf("%+v, want 1 waiting, 2 ready", c)
				}
				complete(t, w.e, r.Result, token)
				w.want(t, r.turns, r.finished, "")
				w.close(t)
			})
		})
	}
}

func TestWaitingBarrierHoldsItsQueueAcrossAFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := map[string]*Token[string]{"barrier": {}, "again": {}}
		first, second := tokens["barrier"], tokens["again"]
		w, q := newWaits(t, 4, 1, waitsFor(tokens))
		other := w.e.Open(ID{Name: "other"}, nil)
		*q.Batch().AddBarrier() = "barrier"
		w.submit(t, q, "k: a")
		w.want(t, "barrier", "", "")
		w.submit(t, other, "k: x")
		w.want(t, "x", "x", "")
		complete(t, w.e, Result{Done: 1}, first)
		w.want(t, "a", "barrier a", "")

		*q.Batch().AddBarrier() = "again"
		w.submit(t, q, "k: b")
		w.want(t, "again", "", "")
		q.Fence(w.drop)
		next := w.e.Open(ID{}, nil)
		w.submit(t, next, "k: next")
		time.Sleep(time.Minute)
		w.want(t, "", "", "b")
		complete(t, w.e, Result{Hold: true}, second)
		w.want(t, "next", "next", "again")
		w.close(t)
	})
}
