package keyed

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While turns are short, a worker claims several lanes. Fence must take back the lanes not started (I7). The worker,
// not Fence, must call Finish for the turns that have returned.
func TestFenceTakesBackClaimedLanesThatHaveNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		fencing := new(atomic.Bool)
		var starts, finished, dropped atomic.Int64
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run: func(*Turn[int]) Result {
				if starts.Add(1) == 2000+10 {
					<-gate
				}
				return Result{Done: 1}
			},
			Finish: func(_ *Queue[int], items []*int) {
				if fencing.Load() {
					t.Error("Fence called Finish")
				}
				finished.Add(int64(len(items)))
			},
		})
		q := e.Open(ID{}, nil)
		for range 2 {
			for i := range 2000 {
				q.Batch().Add(fmt.Sprint(i))
			}
			submit(t, q)
			synctest.Wait() // no time passes, so the clock does not run
		}
		w := e.workers[0]
		if w.n < 2 || starts.Load() != 2010 {
			t.Fatalf("the claim has %d lanes, %d turns started: the test proves nothing", w.n, starts.Load())
		}
		fencing.Store(true)
		q.Fence(func(*int) { dropped.Add(1) })
		fencing.Store(false)
		close(gate)
		if err := q.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := starts.Load(); n != 2010 {
			t.Errorf("%d turns started after Fence", n-2010)
		}
		if finished.Load() != 2010 || dropped.Load() != 4000-2010 {
			t.Errorf("%d finished, %d dropped, want 2010, 1990", finished.Load(), dropped.Load())
		}
		closeExecutor(t, e)
	})
}

// A turn is running when its queue is fenced. Its lane stays Running, and the next epoch's item waits for it (I2).
// Finish is called for the items that the turn finishes; the others are dropped before Wait returns.
func TestLaneStaysRunningAfterFenceUntilItsTurnReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type run struct {
			epoch  int
			result chan Result
		}
		runs := make(chan run, 10)
		var finished, dropped atomic.Int64
		e := newExecutor(t, Config[int]{
			Workers: 4,
			MaxTurn: 3,
			Run: func(t *Turn[int]) Result {
				epoch, _ := t.Queue.Data().(int)
				r := run{epoch, make(chan Result)}
				runs <- r
				return <-r.result
			},
			Finish: func(_ *Queue[int], items []*int) { finished.Add(int64(len(items))) },
		})
		old := e.Open(ID{}, 1)
		for range 5 {
			old.Batch().Add("k")
		}
		submit(t, old)
		first := <-runs
		old.Fence(func(*int) { dropped.Add(1) })
		if dropped.Load() != 2 {
			t.Errorf("%d items dropped, want 2, those behind the turn", dropped.Load())
		}
		q := e.Open(ID{}, 2)
		q.Batch().Add("k")
		submit(t, q)
		time.Sleep(time.Minute)
		q.Lanes(func(l Lane[int]) bool {
			if l.Key != "k" || !l.EarlierEpoch || l.State != Running || l.Len != 1 {
				t.Errorf("lane = %+v, want it to wait for an earlier epoch", l)
			}
			return true
		})
		if len(runs) != 0 {
			t.Error("the next epoch's turn started while the earlier one's ran")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := old.Wait(ctx); err == nil {
			t.Error("Wait returned while a turn of the fenced queue ran")
		}
		first.result <- Result{Done: 1, Hold: true, Next: Singly(3)}
		if err := old.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		if finished.Load() != 1 || dropped.Load() != 4 {
			t.Errorf("%d finished, %d dropped, want 1, 4", finished.Load(), dropped.Load())
		}
		second := <-runs
		if second.epoch != 2 {
			t.Errorf("the turn is of epoch %d, want the second", second.epoch)
		}
		second.result <- Result{Done: 1}
		closeExecutor(t, e)
	})
}

// Fence releases the lock between pieces. No worker may claim the remaining lanes meanwhile (I7).
func TestNoTurnStartsWhileFenceDropsItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var starts, dropped atomic.Int64
		e := newExecutor(t, Config[int]{Workers: 1, Run: func(*Turn[int]) Result {
			starts.Add(1)
			<-gate
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		for i := range 3000 {
			q.Batch().Add(fmt.Sprint(i))
		}
		submit(t, q)
		synctest.Wait()
		q.Fence(func(*int) {
			if dropped.Add(1) == 1 {
				close(gate)
				synctest.Wait() // the worker looks for a lane
			}
		})
		if starts.Load() != 1 || dropped.Load() != 2999 {
			t.Errorf("%d turns started, %d items dropped; want 1, 2999", starts.Load(), dropped.Load())
		}
		closeExecutor(t, e)
	})
}

// A worker that finds only lanes of a queue that is being fenced must go on with other queues: nothing else may wake
// it.
func TestWorkerStaysAwakeForOtherQueuesDuringFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, ran := make(chan struct{}), make(chan struct{}, 1)
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run: func(t *Turn[int]) Result {
				switch *t.Items[0] {
				case 1:
					<-gate
				case 2:
					ran <- struct{}{}
				}
				return Result{Done: 1}
			},
		})
		fenced, other := e.Open(ID{Name: "fenced"}, nil), e.Open(ID{Name: "other"}, nil)
		*other.Batch().Add("first") = 1
		submit(t, other)
		synctest.Wait() // the worker is in Run
		for i := range 2000 {
			fenced.Batch().Add(fmt.Sprint(i))
		}
		submit(t, fenced)
		*other.Batch().Add("second") = 2
		submit(t, other)
		dropping := make(chan struct{})
		go fenced.Fence(func(*int) { <-dropping })
		synctest.Wait() // some lanes of the fenced queue are still ready
		close(gate)
		synctest.Wait()
		select {
		case <-ran:
		default:
			t.Error("the only worker sleeps while a lane is ready")
		}
		close(dropping)
		synctest.Wait()
		closeExecutor(t, e)
	})
}

// A node that Fence has dropped may be reused for another queue's item before Fence ends.
func TestFenceDoesNotTouchReusedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		busy := make(chan struct{})
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run: func(t *Turn[int]) Result {
				if *t.Items[0] == 1 {
					<-busy
				}
				return Result{Done: 1}
			},
			Finish: func(_ *Queue[int], items []*int) { done.Add(int64(len(items))) },
		})
		fenced, other := e.Open(ID{Name: "fenced"}, nil), e.Open(ID{Name: "other"}, nil)
		*other.Batch().Add("first") = 1
		submit(t, other)
		synctest.Wait()
		const n = 2000
		for i := range n {
			fenced.Batch().Add(fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i))
		}
		submit(t, fenced)
		step := make(chan struct{})
		over := make(chan struct{})
		go func() {
			defer close(over)
			fenced.Fence(func(*int) { <-step })
		}()
		submitted := 0
		for {
			synctest.Wait()
			select {
			case step <- struct{}{}:
			case <-over:
			}
			select {
			case <-over:
			default:
				other.Batch().Add(fmt.Sprint("x", submitted), fmt.Sprint("y", submitted%7), fmt.Sprint("z", submitted%11))
				submit(t, other)
				submitted++
				continue
			}
			break
		}
		close(busy)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := done.Load(); got != int64(submitted)+1 {
			t.Errorf("%d items done, want %d: %+v", got, submitted+1, other.Counts())
		}
		closeExecutor(t, e)
	})
}

// A parked item of several lanes may come due after Fence has removed some of its lanes.
func TestParkedItemOfSeveralLanesComesDueDuringFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run:     func(*Turn[int]) Result { return Result{Park: time.Second} },
		})
		q := e.Open(ID{}, nil)
		for i := range 1000 {
			q.Batch().Add(fmt.Sprint("a", i), fmt.Sprint("b", i))
		}
		submit(t, q)
		synctest.Wait()
		q.Fence(func(*int) { time.Sleep(10 * time.Millisecond) })
		closeExecutor(t, e)
		if c := q.Counts(); c.Dropped != 1000 || c.Parked != 0 || c.Ready != 0 {
			t.Errorf("%+v", c)
		}
	})
}
