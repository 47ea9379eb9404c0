package keyed

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestItemsBehindWaitingOnesKeepTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name            string
		items           int
		r               Result
		waiting         int64
		turns, finished string
	}{
		{"two wait and leave", 2, Result{Done: 2}, 2, "d+e+f", "b c d e f"},
		{"two wait and one leaves", 2, Result{Done: 1}, 2, "c+d+e+f", "b c d e f"},
		{"two wait and stay", 2, Result{}, 2, "b+c+d+e+f", "b c d e f"},
		{"one waits and leaves", 1, Result{Done: 5}, 1, "c+d+e+f", "b c d e f"}, // Done is more than the waiting items
		{"all wait", 0, Result{Done: 1}, 4, "c+d+e+f", "b c d e f"},
		{"more than there are", 9, Result{Done: 1}, 4, "c+d+e+f", "b c d e f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := &Token[string]{Items: c.items}
				first, returns := true, make(chan struct{})
				w, q := newWaits(t, 4, 5, func(t *Turn[string]) Result {
					if !first {
						return Result{Done: len(t.Items)}
					}
					first = false
					<-returns
					t.Await = token
					return Result{Done: 1}
				})
				w.submit(t, q, "k: a", "k: b", "k: c", "k: d", "k: e")
				synctest.Wait()
				w.submit(t, q, "k: f")
				close(returns)
				w.want(t, "a+b+c+d+e", "a", "")
				if n := q.Counts(); n.Waiting != c.waiting || n.Ready != 5-c.waiting || n.Running != 0 {
					t.Errorf("Counts = %+v, want %d waiting and %d ready", n, c.waiting, 5-c.waiting)
				}
				q.Lanes(func(l Lane[string]) bool {
					if l.Len != 5 || l.Head != "b" {
						t.Errorf("lane = %+v, want 5 items and the first waiting one as its head", l)
					}
					return true
				})
				complete(t, w.e, c.r, token)
				w.want(t, c.turns, c.finished, "")
				w.close(t)
			})
		})
	}
}

// A turn runs when its queue is fenced. When it returns, its items that do not wait are dropped. A waiting item is
// dropped when it is completed and does not leave. Wait waits for all of them.
func TestEachItemOfAFencedTurnIsDroppedOnce(t *testing.T) { // I9
	synctest.Test(t, func(t *testing.T) {
		token, returns := &Token[string]{Items: 2}, make(chan struct{})
		w, q := newWaits(t, 4, 5, func(t *Turn[string]) Result {
			<-returns
			t.Await = token
			return Result{Done: 1, Next: Singly(5)}
		})
		w.submit(t, q, "k: a", "k: b", "k: c", "k: d", "k: e", "k: f")
		synctest.Wait()
		q.Fence(w.drop)
		w.want(t, "a+b+c+d+e", "", "f")
		close(returns)
		w.want(t, "", "a", "d e")
		if c := q.Counts(); c.Waiting != 2 || c.Dropped != 3 {
			t.Errorf("%+v, want 2 waiting, 3 dropped", c)
		}
		if err := q.Wait(cancelled()); err == nil {
			t.Error("Wait returned before Complete")
		}
		complete(t, w.e, Result{Done: 1, Park: time.Second}, token)
		w.want(t, "", "b", "c")
		if c := q.Counts(); c.Finished != 2 || c.Dropped != 4 || c.Submitted != 6 {
			t.Errorf("%+v, want 2 finished, 4 dropped", c)
		}
		w.close(t)
	})
}

func TestCompleteAppliesItsResultLikeATurn(t *testing.T) {
	for _, c := range []struct {
		name           string
		r              Result
		now            [2]string // turns and finished items, as in the next two fields
		second, resume [2]string // a second after Complete, and after Resume
	}{
		{"zero", Result{}, [2]string{"a+b+c+d e+f", "a b c d e f"}, [2]string{}, [2]string{}},
		{"Park", Result{Done: 1, Park: time.Second}, [2]string{"", "a"}, [2]string{"b+c+d+e f", "b c d e f"}, [2]string{}},
		{"Hold", Result{Done: 1, Hold: true}, [2]string{"", "a"}, [2]string{}, [2]string{"b+c+d+e f", "b c d e f"}},
		{"Single", Result{Done: 1, Next: Singly(2)}, [2]string{"b c d+e+f", "a b c d e f"}, [2]string{}, [2]string{}},
		{"Again", Result{Done: 2, Next: Together(4), Park: time.Second}, [2]string{"", "a b"}, [2]string{"c+d e+f", "c d e f"}, [2]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := &Token[string]{}
				w, q := newWaits(t, 4, 4, waitsFor(map[string]*Token[string]{"a": token}))
				w.submit(t, q, "k: a", "k: b", "k: c", "k: d", "k: e", "k: f")
				w.want(t, "a+b+c+d", "", "")
				time.Sleep(time.Hour)
				if q.Resume("k") || q.ResumeHeld() != 0 {
					t.Error("Resume reported true for a lane that waits for Complete")
				}
				complete(t, w.e, c.r, token)
				time.Sleep(time.Second - time.Nanosecond)
				w.want(t, c.now[0], c.now[1], "")
				time.Sleep(time.Nanosecond)
				w.want(t, c.second[0], c.second[1], "")
				if q.Resume("k") != c.r.Hold {
					t.Errorf("Held = %v, want %v", !c.r.Hold, c.r.Hold)
				}
				w.want(t, c.resume[0], c.resume[1], "")
				w.close(t)
			})
		})
	}
}

func TestCompletingTwiceIsAnErrorAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, late := &Token[string]{}, &Token[string]{}
		returns := make(chan struct{})
		run := waitsFor(map[string]*Token[string]{"early": early, "late": late})
		w, q := newWaits(t, 4, 1, func(t *Turn[string]) Result {
			if *t.Items[0] == "early" {
				<-returns
			}
			return run(t)
		})
		w.submit(t, q, "k: early")
		w.want(t, "early", "", "")
		w.submit(t, q, "l: late", "l: next")
		w.want(t, "late", "", "")
		complete(t, w.e, Result{Done: 1}, early)
		err := w.e.Complete(early)
		if want := "keyed: complete: 1 of 1 tokens were already completed; complete each token once"; err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
		close(returns)
		w.want(t, "", "early", "")

		late.Result = Result{Done: 1}
		err = w.e.Complete(late, early, late)
		if want := "keyed: complete: 2 of 3 tokens were already completed; complete each token once"; err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
		w.want(t, "next", "late next", "")
		if err := w.e.Complete(late); err == nil {
			t.Error("Complete of an ended token returned no error")
		}
		if err := w.e.Complete(); err != nil {
			t.Errorf("Complete() = %v, want nil", err)
		}
		w.want(t, "", "", "")
		if c := q.Counts(); c.Finished != 3 || c.Submitted != 3 {
			t.Errorf("%+v", c)
		}
		w.close(t)
	})
}
