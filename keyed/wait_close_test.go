package keyed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwaitHasNoEffectWhenNoItemStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, q := newWaits(t, 1, 2, func(t *Turn[string]) Result {
			t.Await = &Token[string]{}
			return Result{Done: len(t.Items)}
		})
		w.submit(t, q, "k: a", "k: b", "k: c")
		w.want(t, "a+b c", "a b c", "")
		w.close(t)
	})
}

func TestTurnThatCallsGoexitWaitsForItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := &Token[string]{}
		w, q := newWaits(t, 1, 1, func(t *Turn[string]) Result {
			if *t.Items[0] == "a" {
				t.Await = token
				runtime.Goexit()
			}
			return Result{Done: 1}
		})
		w.submit(t, q, "k: a", "k: b")
		w.want(t, "a", "", "")
		complete(t, w.e, Result{Done: 1}, token)
		w.want(t, "b", "a b", "")
		w.close(t)
	})
}

// Complete holds no lock when it calls Finish and drop. It may be called from Run, Finish and drop.
func TestCompleteMayBeCalledFromRunFinishAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := map[string]*Token[string]{}
		for _, name := range []string{"run", "from run", "from finish", "from drop"} {
			tokens[name] = &Token[string]{Result: Result{Done: 1}}
		}
		var e *Executor[string]
		call := func(name string) {
			if token := tokens[name]; token != nil {
				if err := e.Complete(token); err != nil {
					t.Error(err)
				}
			}
		}
		var mu sync.Mutex
		var finished []string
		e = newExecutor(t, Config[string]{
			Workers: 4,
			Run: func(turn *Turn[string]) Result {
				name := *turn.Items[0]
				turn.Await = tokens[name]
				if name == "run" {
					call("run") // of the turn's own token
					call("from run")
				}
				return Result{}
			},
			Finish: func(_ *Queue[string], items []*string) {
				mu.Lock()
				finished = append(finished, *items[0])
				mu.Unlock()
				if *items[0] == "from run" {
					call("from finish")
				}
			},
		})
		q, dropping := e.Open(ID{}, nil), e.Open(ID{Name: "dropping"}, nil)
		for _, name := range []string{"from run", "from finish", "from drop"} {
			*q.Batch().Add(name) = name
		}
		submit(t, q)
		synctest.Wait()
		*q.Batch().Add("run") = "run"
		submit(t, q)
		synctest.Wait()
		slices.Sort(finished)
		if want := []string{"from finish", "from run", "run"}; !slices.Equal(finished, want) {
			t.Errorf("finished %q, want %q", finished, want)
		}
		tokens["waits"] = &Token[string]{}
		*dropping.Batch().Add("k"), *dropping.Batch().Add("k") = "waits", "behind"
		submit(t, dropping)
		synctest.Wait()
		dropping.Fence(func(x *string) {
			if *x == "behind" {
				call("waits") // of a token of the queue that is being fenced
				call("from drop")
			}
		})
		synctest.Wait()
		if c := dropping.Counts(); c.Dropped != 2 || q.Counts().Finished != 4 {
			t.Errorf("%+v, %+v", c, q.Counts())
		}
		closeExecutor(t, e)
		if n := e.Stats().Waits; n != 0 {
			t.Errorf("%d tokens still wait", n)
		}
	})
}

func TestCloseDoesNotWaitForLanesThatWait(t *testing.T) { // I10
	synctest.Test(t, func(t *testing.T) {
		const lanes = 2 * trimKeep // enough that the clock has memory to trim
		byItem, tokens := map[string]*Token[string]{}, []*Token[string]{}
		items := []string{}
		for i := range lanes {
			tokens = append(tokens, &Token[string]{Result: Result{Done: i % 2}})
			byItem[fmt.Sprint(i)] = tokens[i]
			items = append(items, fmt.Sprintf("k%d: %d", i, i))
		}
		w, q := newWaits(t, 4, 1, waitsFor(byItem))
		w.submit(t, q, items...)
		w.submit(t, q, "k0: behind")
		synctest.Wait()
		w.turns = nil
		begun := time.Now()
		if err := w.e.Close(context.Background()); err != nil || time.Since(begun) != 0 {
			t.Errorf("Close = %v after %v", err, time.Since(begun))
		}
		if err := q.Submit(q.Batch()); !errors.Is(err, ErrFenced) {
			t.Errorf("Submit after Close: %v", err)
		}
		if err := w.e.Complete(tokens...); err != nil {
			t.Error(err)
		}
		if w.e.clockOn || w.e.live != 0 {
			t.Errorf("%d goroutines live after Complete, want none after Close", w.e.live)
		}
		if n := len(w.finished); n != lanes/2 || len(w.turns) != 0 {
			t.Errorf("after Close %d items finished and %q started", n, w.turns)
		}
		if c := q.Counts(); c.Finished != lanes/2 || c.Dropped != lanes/2+1 || c.Waiting != 0 {
			t.Errorf("%+v", c)
		}
		if err := q.Wait(cancelled()); err != nil || w.e.Stats().Waits != 0 {
			t.Errorf("Wait = %v, %+v", err, w.e.Stats())
		}
		if len(w.e.tables) != 0 {
			t.Errorf("%d tables are left, want none", len(w.e.tables))
		}
	})
}

func TestLanesDescribesWaitingLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := map[string]*Token[string]{"a": {Note: 7}, "kl": {Note: 9}}
		one, two := tokens["a"], tokens["kl"]
		run := waitsFor(tokens)
		w, q := newWaits(t, 4, 1, func(t *Turn[string]) Result {
			time.Sleep(time.Second)
			return run(t)
		})
		time.Sleep(time.Minute)
		begun := time.Now()
		w.submit(t, q, "k: a", "l m: kl", "k: b")
		time.Sleep(time.Hour)
		lanes := func(q *Queue[string]) map[string]Lane[string] {
			synctest.Wait()
			seen := make(map[string]Lane[string])
			q.Lanes(func(l Lane[string]) bool {
				seen[l.Key] = l
				return true
			})
			return seen
		}
		since := begun.Add(time.Second)
		want := map[string]Lane[string]{
			"k": {Key: "k", Len: 2, State: Waiting, Since: since, Note: 7, Head: "a"},
			"l": {Key: "l", Len: 1, State: Waiting, Since: since, Note: 9, Head: "kl"},
			"m": {Key: "m", Len: 1, State: Waiting, Since: since, Note: 9, Head: "kl"},
		}
		for key, got := range lanes(q) {
			if x := want[key]; !got.Since.Equal(x.Since) || got != withSince(x, got.Since) {
				t.Errorf("lane %q = %+v, want %+v", key, got, x)
			}
			delete(want, key)
		}
		if len(want) > 0 {
			t.Errorf("Lanes does not visit %v", want)
		}
		q.Fence(nil)
		next := w.e.Open(ID{}, nil)
		w.submit(t, next, "k: next")
		if l := lanes(next)["k"]; l.State != Waiting || !l.EarlierEpoch || l.Len != 1 || l.Head != "a" || l.Note != 7 {
			t.Errorf("the next epoch's lane = %+v, want it to wait for the earlier epoch", l)
		}
		complete(t, w.e, Result{Done: 1}, one, two)
		if l := lanes(next)["k"]; l.State != Running || l.EarlierEpoch {
			t.Errorf("after Complete: lane = %+v", l)
		}
		time.Sleep(time.Second)
		w.close(t)
	})
}

func withSince(l Lane[string], at time.Time) Lane[string] {
	l.Since = at
	return l
}

func TestStateHasAName(t *testing.T) {
	for s, want := range map[State]string{Ready: "ready", Running: "running", Parked: "parked", Waiting: "waiting", 0: "unknown", Waiting + 1: "unknown"} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) = %q, want %q", uint8(s), got, want)
		}
	}
}

// waiter is an item with its token.
type waiter struct {
	token Token[waiter]
}

// Tokens are completed before and after their turn returns, one at a time and many at once.
func TestWaitingAllocatesNothing(t *testing.T) {
	const n = 200
	batch := make(chan *Token[waiter], n)
	done := make(chan struct{}, 1)
	var e *Executor[waiter]
	left, early := 0, false // used by one worker, or by the test while the workers are idle
	finished := 0
	e = newExecutor(t, Config[waiter]{
		Workers: 1,
		Run: func(t *Turn[waiter]) Result {
			x := t.Items[0]
			x.token.Result = Result{Done: 1}
			t.Await = &x.token
			if early {
				if err := e.Complete(&x.token); err != nil {
					panic(err)
				}
				return Result{}
			}
			if batch <- &x.token; len(batch) == n {
				done <- struct{}{}
			}
			return Result{}
		},
		Finish: func(_ *Queue[waiter], items []*waiter) {
			if finished += len(items); finished == left {
				done <- struct{}{}
			}
		},
	})
	defer closeExecutor(t, e)
	q := e.Open(ID{}, nil)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	tokens := make([]*Token[waiter], 0, n)
	for _, c := range []struct {
		name  string
		early bool
		size  int
	}{{"early", true, 1}, {"one at a time", false, 1}, {"at once", false, n}} {
		round := func() {
			early, finished, left = c.early, 0, n
			for _, k := range keys {
				q.Batch().Add(k)
			}
			submit(t, q)
			<-done
			if c.early {
				return
			}
			for e.Stats().Waits < n { // until the last turn has returned
				runtime.Gosched()
			}
			for range n / c.size {
				tokens = tokens[:0]
				for range c.size {
					tokens = append(tokens, <-batch)
				}
				if err := e.Complete(tokens...); err != nil {
					t.Fatal(err)
				}
			}
			<-done
		}
		for range 30 {
			round()
		}
		// The runtime's own allocations are included, as in TestSteadyStateAllocatesNothing.
		if allocs := testing.AllocsPerRun(100, round) / n; allocs > 0.01 {
			t.Errorf("%s: %v allocations a wait, want none", c.name, allocs)
		}
	}
}
