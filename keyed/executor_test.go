package keyed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newExecutor[T any](tb testing.TB, cfg Config[T]) *Executor[T] {
	tb.Helper()
	e, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func closeExecutor[T any](tb testing.TB, e *Executor[T]) {
	tb.Helper()
	if err := e.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

func submit[T any](tb testing.TB, q *Queue[T]) {
	tb.Helper()
	if err := q.Submit(q.Batch()); err != nil {
		tb.Fatal(err)
	}
}

func TestNewReturnsAllConfigErrors(t *testing.T) {
	_, err := New(Config[int]{Workers: -1, MaxTurn: -2, Share: -3})
	for _, want := range []string{"Workers", "MaxTurn", "Share", "Run"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want it to name %s", err, want)
		}
	}
}

func TestLaneIsSmall(t *testing.T) {
	if size := reflect.TypeFor[lane[[192]byte]]().Size(); size > 64 {
		t.Errorf("sizeof(lane) = %d bytes, want at most 64", size)
	}
}

// A worker gets stuck in one turn of a claim of several lanes: other workers must take over the lanes it has not
// started (I6).
func TestSlowTurnDelaysNoOtherLane(t *testing.T) { // seeds 29, 33
	synctest.Test(t, func(t *testing.T) {
		type job struct {
			submitted time.Time
			slow      bool
		}
		var mu sync.Mutex
		var worst time.Duration
		e := newExecutor(t, Config[job]{Workers: 16, Run: func(t *Turn[job]) Result {
			j := t.Items[0]
			if j.slow {
				time.Sleep(time.Second)
				return Result{Done: 1}
			}
			mu.Lock()
			worst = max(worst, time.Since(j.submitted))
			mu.Unlock()
			time.Sleep(time.Microsecond)
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		for i := range 2000 {
			if i == 100 || i == 1000 { // submitted first, so that the others are behind it in its claim
				q.Batch().Add(fmt.Sprint("slow", i)).slow = true
			}
			for k := range 20 {
				j := q.Batch().Add(fmt.Sprint("key", k))
				j.submitted = time.Now()
			}
			submit(t, q)
			time.Sleep(time.Millisecond)
		}
		closeExecutor(t, e)
		if worst > 10*time.Millisecond {
			t.Errorf("another key waited %v for a slow one, want at most 10ms", worst)
		}
	})
}

// newSticky returns an executor whose Run blocks on items that are true until free is called. ran counts the other
// items.
func newSticky(t *testing.T, workers int) (e *Executor[bool], ran *atomic.Int64, free func()) {
	t.Helper()
	stuck := make(chan struct{})
	ran = new(atomic.Int64)
	e = newExecutor(t, Config[bool]{Workers: workers, Run: func(t *Turn[bool]) Result {
		if *t.Items[0] {
			<-stuck
		} else {
			ran.Add(1)
		}
		return Result{Done: 1}
	}})
	return e, ran, func() { close(stuck) }
}

// Two workers are each stuck in the first turn of a claim of several lanes, and no other lane is ready. The lanes
// behind must still be taken over.
func TestStuckClaimsAreTakenOverWhenNoOtherLaneIsReady(t *testing.T) { // seeds 29, 33
	synctest.Test(t, func(t *testing.T) {
		e, ran, free := newSticky(t, 3)
		q := e.Open(ID{}, nil)
		for i := range 2 {
			time.Sleep(time.Duration(tick) / 2)
			*q.Batch().Add(fmt.Sprint("stuck", i)) = true
			for k := range 100 {
				q.Batch().Add(fmt.Sprint(i, "behind", k))
			}
			submit(t, q)
		}
		time.Sleep(10 * time.Duration(tick))
		synctest.Wait()
		if n := ran.Load(); n != 200 {
			t.Errorf("%d turns ran while two were stuck, want 200: %+v", n, e.Stats())
		}
		free()
		closeExecutor(t, e)
	})
}

// All workers but one are stuck in turns that were expected to be short.
func TestOtherWorkersWakeWhenTurnsAreStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ran, free := newSticky(t, 16)
		q := e.Open(ID{}, nil)
		for i := range 1000 { // short turns: in virtual time they take no time
			q.Batch().Add(fmt.Sprint(i))
		}
		submit(t, q)
		synctest.Wait()
		for i := range 15 {
			*q.Batch().Add(fmt.Sprint("stuck", i)) = true
		}
		for i := range 1000 {
			q.Batch().Add(fmt.Sprint(i))
		}
		submit(t, q)
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		if n := ran.Load(); n != 2000 {
			t.Errorf("%d short turns ran while 15 were stuck, want 2000: %+v", n, e.Stats())
		}
		free()
		closeExecutor(t, e)
	})
}

// A lane that is always the longest gets its part of the only worker and no more.
func TestHotLaneDoesNotStarveOthers(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		var order []string
		e := newExecutor(t, Config[string]{Workers: 1, Run: func(t *Turn[string]) Result {
			time.Sleep(time.Millisecond)
			order = append(order, *t.Items[0])
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		for range 1000 {
			*q.Batch().Add("hot") = "hot"
		}
		for i := range 20 {
			*q.Batch().Add(fmt.Sprint(i)) = fmt.Sprint(i)
		}
		submit(t, q)
		time.Sleep(100 * time.Millisecond)
		closeExecutor(t, e)
		cold := 0
		for _, k := range order {
			if k != "hot" {
				cold++
			}
		}
		if cold < 20 {
			t.Errorf("%d of 20 cold lanes ran in the first %d turns", cold, len(order))
		}
	})
}

func TestGoexitInRunHoldsOnlyItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		exit := true
		e := newExecutor(t, Config[int]{Workers: 1, Run: func(t *Turn[int]) Result {
			if *t.Items[0] == 1 && exit {
				runtime.Goexit()
			}
			ran.Add(1)
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		for i := range 100 {
			*q.Batch().Add(fmt.Sprint(i)) = i
		}
		*q.Batch().AddUnordered() = 1
		submit(t, q)
		synctest.Wait()
		if c := q.Counts(); ran.Load() != 99 || c.Parked != 2 {
			t.Errorf("%d turns ran, Counts = %+v; want 99 turns and 2 parked", ran.Load(), c)
		}
		exit = false
		if !q.Resume("1") || q.Resume("1") || q.Resume("2") {
			t.Error("Resume does not report whether the lane was parked")
		}
		if n := q.ResumeHeld(); n != 1 {
			t.Errorf("ResumeHeld = %d lanes, want 1", n)
		}
		synctest.Wait()
		if c := q.Counts(); c.Finished != 101 {
			t.Errorf("Counts = %+v, want 101 finished", c)
		}
		closeExecutor(t, e)
	})
}

func TestCloseNamesTheTurnsThatDoNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		e := newExecutor(t, Config[int]{Workers: 4, Run: func(*Turn[int]) Result {
			<-stuck
			return Result{Done: 1}
		}})
		q := e.Open(ID{Name: "orders", Number: 3}, nil)
		q.Batch().Add("alice")
		q.Batch().Add("alice")
		submit(t, q)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := e.Close(ctx)
		stuckErr, ok := errors.AsType[*StuckError](err)
		if !ok || !errors.Is(err, context.DeadlineExceeded) || len(stuckErr.Turns) != 1 || stuckErr.Turns[0].Lane != "alice" ||
			!strings.Contains(err.Error(), `orders/3 lane "alice"`) {
			t.Errorf("Close = %v, want it to name alice of orders/3", err)
		}
		late := e.Open(ID{Name: "late"}, nil)
		if err := late.Submit(late.Batch()); !errors.Is(err, ErrFenced) {
			t.Error("Submit to a closed executor returned no error")
		}
		close(stuck)
		closeExecutor(t, e)
	})
}

func TestOpenPanicsWhileTheEarlierEpochIsNotFenced(t *testing.T) {
	e := newExecutor(t, Config[int]{Workers: 1, Run: func(*Turn[int]) Result { return Result{Done: 1} }})
	defer closeExecutor(t, e)
	e.Open(ID{Name: "a"}, nil)
	defer func() {
		if recover() == nil {
			t.Error("Open did not panic while the earlier epoch was open")
		}
	}()
	e.Open(ID{Name: "a"}, nil)
}

func TestSetWorkersLowersTheLimitAsTurnsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExecutor(t, Config[int]{Workers: 10, Run: func(*Turn[int]) Result {
			time.Sleep(time.Second)
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		for i := range 100 {
			q.Batch().Add(fmt.Sprint(i))
		}
		submit(t, q)
		time.Sleep(500 * time.Millisecond)
		for _, n := range []int{2, 5} {
			if err := e.SetWorkers(n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if s := e.Stats(); s.Running != n || s.Started != n {
				t.Errorf("after SetWorkers(%d): %+v", n, s)
			}
		}
		if err := e.SetWorkers(0); err == nil {
			t.Error("SetWorkers(0) returned no error")
		}
		q.Fence(nil)
		closeExecutor(t, e)
	})
}

// Keys with equal hash are still different keys.
func TestKeysWithEqualHashHaveSeparateLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		e := newExecutor(t, Config[int]{Workers: 8, Run: func(*Turn[int]) Result {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			return Result{Done: 1}
		}})
		e.hash = func(string) uint32 { return 1 }
		q := e.Open(ID{}, nil)
		for i := range 64 {
			q.Batch().Add(fmt.Sprint("key", i%8))
		}
		submit(t, q)
		time.Sleep(time.Minute)
		if c := q.Counts(); most.Load() != 8 || c.Finished != 64 {
			t.Errorf("%d lanes ran concurrently, want 8; %+v", most.Load(), c)
		}
		closeExecutor(t, e)
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	done := make(chan struct{}, 1)
	var left atomic.Int64
	e := newExecutor(t, Config[[24]uint64]{
		Workers: 4,
		Run:     func(t *Turn[[24]uint64]) Result { return Result{Done: len(t.Items)} },
		Finish: func(_ *Queue[[24]uint64], items []*[24]uint64) {
			if left.Add(-int64(len(items))) == 0 {
				done <- struct{}{}
			}
		},
	})
	defer closeExecutor(t, e)
	q := e.Open(ID{}, nil)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	round := func() {
		left.Store(int64(len(keys)))
		for i, k := range keys {
			switch i % 10 {
			case 0:
				q.Batch().Add(k, keys[(i+1)%len(keys)])
			case 1:
				q.Batch().AddUnordered()
			default:
				q.Batch().Add(k)
			}
		}
		if err := q.Submit(q.Batch()); err != nil {
			t.Fatal(err)
		}
		<-done
	}
	for range 60 {
		round()
	}
	// The runtime's own allocations are included: a few in a run, for any number of items. An allocation of the
	// executor would occur at least once for one kind of item, which is 0.1 an item.
	if n := testing.AllocsPerRun(500, round) / float64(len(keys)); n > 0.01 {
		t.Errorf("%v allocations an item, want none", n)
	}
}

// BenchmarkWaitingKey measures the memory of a million waiting keys, without the bytes of the keys, for an item of 192
// bytes.
func BenchmarkWaitingKey(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		gate := make(chan struct{})
		e := newExecutor(b, Config[[24]uint64]{Workers: 1, Run: func(*Turn[[24]uint64]) Result {
			<-gate
			return Result{Done: 1}
		}})
		q := e.Open(ID{}, nil)
		before := heapNow()
		for i, k := range keys {
			q.Batch().Add(k)
			if i%500 == 499 {
				submit(b, q)
			}
		}
		waiting := heapNow()
		b.ReportMetric(float64(waiting-before)/n, "B/key")
		close(gate)
		q.Fence(nil)
		e.mu.Lock()
		for e.trimLocked() { // the clock does this every 10 s
		}
		e.mu.Unlock()
		b.ReportMetric((float64(heapNow())-float64(before))/n, "B/key-left")
		closeExecutor(b, e)
		runtime.KeepAlive(keys)
	}
}

func heapNow() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestLongestParkDoesNotEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns atomic.Int64
		e := newExecutor(t, Config[int]{
			Workers: 1,
			Run: func(*Turn[int]) Result {
				if turns.Add(1) > 5 {
					return Result{Hold: true}
				}
				return Result{Park: math.MaxInt64}
			},
		})
		time.Sleep(time.Second)
		q := e.Open(ID{}, nil)
		q.Batch().Add("a")
		submit(t, q)
		time.Sleep(time.Hour)
		if n := turns.Load(); n != 1 {
			t.Errorf("%d turns", n)
		}
		q.Fence(nil)
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
