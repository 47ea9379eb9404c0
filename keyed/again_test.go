package keyed

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// once returns a Run that applies results to the first turn of each item in it. All other items are done.
func once(results map[string]Result) func(*Turn[string]) Result {
	return func(t *Turn[string]) Result {
		r, ok := results[*t.Items[0]]
		if !ok {
			return Result{Done: len(t.Items)}
		}
		delete(results, *t.Items[0])
		return r
	}
}

func TestTogetherRepeatsTheBatchWhenItsLaneHasGrown(t *testing.T) {
	for _, c := range []struct {
		name  string
		r     Result
		turns string
	}{
		{"at once", Result{Next: Together(3)}, "a+b+c a+b+c d+e+f+g"},
		{"parked", Result{Next: Together(3), Park: time.Second}, "a+b+c a+b+c d+e+f+g"},
		{"a part of it", Result{Next: Together(2), Park: time.Second}, "a+b+c a+b c+d+e+f g"},
		{"what is left of it", Result{Done: 1, Next: Together(3), Park: time.Second}, "a+b+c b+c d+e+f+g"},
		{"one item", Result{Next: Together(1), Park: time.Second}, "a+b+c a+b+c+d e+f+g"}, // a batch of one needs no Together
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				returns := make(chan struct{})
				run := once(map[string]Result{"a": c.r})
				w, q := newWaits(t, 1, 4, func(t *Turn[string]) Result {
					<-returns
					return run(t)
				})
				w.submit(t, q, "k: a", "k: b", "k: c")
				synctest.Wait()
				w.submit(t, q, "k: d", "k: e", "k: f", "k: g")
				close(returns)
				time.Sleep(time.Second)
				w.want(t, c.turns, "a b c d e f g", "")
				w.close(t)
			})
		})
	}
}

func TestTogetherRepeatsTheBatchAfterResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, q := newWaits(t, 1, 4, once(map[string]Result{"a": {Next: Together(2), Hold: true}}))
		w.submit(t, q, "k: a", "k: b")
		w.want(t, "a+b", "", "")
		w.submit(t, q, "k: c", "k: d", "k: e")
		time.Sleep(time.Hour)
		if !q.Resume("k") {
			t.Error("the lane is not held")
		}
		w.want(t, "a+b c+d+e", "a b c d e", "")
		w.close(t)
	})
}

// A worker gets stuck in a turn and has claimed another lane behind it. The clock takes that lane back, and another
// worker runs it: with as many items as before.
func TestTogetherRepeatsTheBatchWhenAnotherWorkerTakesItOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, stuck := make(chan struct{}), make(chan struct{})
		run := once(map[string]Result{"a": {Next: Together(2), Hold: true}})
		w, q := newWaits(t, 1, 4, func(t *Turn[string]) Result {
			switch *t.Items[0] {
			case "gate":
				<-gate
			case "stuck":
				<-stuck
			}
			return run(t)
		})
		w.e.procs = 1
		for i := range 1000 { // short turns, so that a claim has several lanes
			w.submit(t, q, fmt.Sprintf("short%d: x", i))
		}
		w.submit(t, q, "k: a", "k: b")
		synctest.Wait()
		w.submit(t, q, "k: c", "k: d")
		w.submit(t, q, "gate: gate")
		synctest.Wait()
		for range 8 { // the longer lane is claimed first
			w.submit(t, q, "stuck: stuck")
		}
		q.Resume("k")
		w.turns, w.finished = nil, nil
		close(gate)
		w.want(t, "stuck+stuck+stuck+stuck", "gate", "")
		if n := w.e.workers[0].n; n != 2 {
			t.Fatalf("the claim has %d lanes, want several: the test proves nothing", n)
		}
		if err := w.e.SetWorkers(2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.want(t, "a+b c+d", "a b c d", "")
		if n := w.e.Stats().Overtaken; n != 1 {
			t.Errorf("Overtaken = %d lanes, want 1", n)
		}
		close(stuck)
		synctest.Wait()
		w.turns, w.finished = nil, nil
		w.close(t)
	})
}

// Together does not apply to items of the next epoch, whether the turn returned before or after the fence.
func TestFenceCancelsTogether(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("returns after the fence=", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				returns := make(chan struct{})
				run := once(map[string]Result{"a": {Next: Together(2), Hold: true}})
				w, q := newWaits(t, 1, 4, func(t *Turn[string]) Result {
					<-returns
					return run(t)
				})
				w.submit(t, q, "k: a", "k: b")
				w.want(t, "a+b", "", "")
				if !late {
					close(returns)
					synctest.Wait()
				}
				q.Fence(w.drop)
				next := w.e.Open(ID{}, nil)
				w.submit(t, next, "k: 1", "k: 2", "k: 3", "k: 4")
				if late {
					close(returns)
				}
				w.want(t, "1+2+3+4", "1 2 3 4", "a b")
				w.close(t)
			})
		})
	}
}

// A fence drops items marked by Singly while the first of them runs.
func TestFenceCancelsSingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returns := make(chan struct{})
		run := once(map[string]Result{"a": {Next: Singly(3)}})
		first := true
		w, q := newWaits(t, 1, 4, func(t *Turn[string]) Result {
			if !first {
				<-returns
			}
			first = false
			return run(t)
		})
		w.submit(t, q, "k: a", "k: b", "k: c")
		w.want(t, "a+b+c a", "", "")
		q.Fence(w.drop)
		next := w.e.Open(ID{}, nil)
		w.submit(t, next, "k: 1", "k: 2", "k: 3")
		close(returns)
		w.want(t, "1+2+3", "a 1 2 3", "b c")
		w.close(t)
	})
}
