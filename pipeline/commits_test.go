package pipeline_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

func nothing(context.Context, *keystrand.Message) error { return nil }

// I10, I8: a store that is down must not keep Run from returning.
func TestRunReturnsAlthoughNoCommitIsEverStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(10, 3)...)
		down := errors.New("store is down")
		src := watch(t, memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error { return down }}, log), nil)
		r := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)).Timing(pipeline.Timing{CommitTimeout: 7 * time.Second}))
		synctest.Wait()
		began := time.Now()
		if err := r.stop(); err != nil {
			t.Errorf("Run = %v, want nil: a failed commit causes repeats, not an error", err)
		}
		if d := time.Since(began); d > 7*time.Second {
			t.Errorf("I10: Run returned after %v, CommitTimeout is 7 s", d)
		}
	})
}

// I8: a running commit of a lost partition ends before Release.
func TestReleaseOfALostPartitionComesAfterTheCommitUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		var slow atomic.Bool
		slow.Store(true)
		mem := memory.NewSource(memory.Config{BeforeCommit: func(ctx context.Context, _ source.ID, _ *commit.Progress) error {
			if !slow.Swap(false) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Second):
				return nil
			}
		}}, log)
		src := watch(t, mem, nil)
		r := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)))
		time.Sleep(1500 * time.Millisecond) // the first commit is running
		if !mem.Lose("posts", 0) {
			t.Fatal("the partition is not owned")
		}
		synctest.Wait()
		if e := src.epochs(0); !e[0].isReleased() {
			t.Error("the lost partition is not released at once")
		}
		time.Sleep(10 * time.Second)
		if n := len(src.epochs(0)); n != 2 {
			t.Errorf("%d epochs, want 2", n)
		}
		if err := r.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 10 {
			t.Errorf("committed %+v, want 10", c)
		}
	})
}

// I8: the committer's commits and the last commit of a released partition never overlap.
func TestNoCommitIsSentAfterReleaseOrBesideAnother(t *testing.T) {
	for _, leave := range []string{"revoked", "lost", "stopped"} {
		t.Run(leave, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 4)
				// A commit takes as long as the interval, so one is nearly always running.
				mem := memory.NewSource(memory.Config{BeforeCommit: func(ctx context.Context, _ source.ID, _ *commit.Progress) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(10 * time.Millisecond):
						return nil
					}
				}}, log)
				src := watch(t, mem, nil)
				var appending sync.WaitGroup
				appending.Go(func() {
					for i := range 4000 {
						log.Append(int32(i%4), keysOf(1, 1)...)
						time.Sleep(time.Millisecond)
					}
				})
				r := start(t, pipeline.From(src).
					Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { time.Sleep(3 * time.Millisecond); return nil })).
					Timing(pipeline.Timing{CommitInterval: 10 * time.Millisecond}))
				for i := range 200 {
					time.Sleep(17 * time.Millisecond)
					switch leave {
					case "revoked":
						mem.Revoke("posts", int32(i%4))
					case "lost":
						mem.Lose("posts", int32(i%4))
					}
				}
				if err := r.stop(); err != nil {
					t.Errorf("Run = %v", err)
				}
				appending.Wait()
			})
		})
	}
}

// I8: after a lost reply the outcome of a commit is unknown. The next commit resolves it by covering at least as much.
func TestCommitWithALostReplyIsSentAgainBeforeRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(100, 7)...)
		var n atomic.Int32
		src := watch(t, memory.NewSource(memory.Config{AfterCommit: func(context.Context, source.ID, *commit.Progress) error {
			if n.Add(1) <= 2 {
				return errors.New("connection reset")
			}
			return nil
		}}, log), nil)
		r := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)).Timing(pipeline.Timing{CommitInterval: time.Hour}))
		synctest.Wait()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		e := src.epochs(0)[0]
		if e.tried != 3 || len(e.commits) != 1 || e.commits[0].Frontier != 100 {
			t.Errorf("I8: %d commits, %d confirmed %v; want 3, the last confirmed at 100", e.tried, len(e.commits), e.commits)
		}
	})
}

// I8: a fenced commit means that the partition is lost: its handlers are cancelled at once, it commits no more, and it is
// released.
func TestFencedCommitLosesThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(3, 3)...)
		var fence atomic.Bool
		src := watch(t, memory.NewSource(memory.Config{BeforeCommit: func(_ context.Context, id source.ID, _ *commit.Progress) error {
			if id.Partition == 0 && id.Epoch == 1 && fence.Load() {
				return commit.ErrFenced
			}
			return nil
		}}, log), nil)
		var cause atomic.Value
		r := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
			if m.Offset == 0 && m.Epoch == 1 {
				<-ctx.Done()
				cause.Store(context.Cause(ctx))
				return ctx.Err()
			}
			return nil
		})))
		time.Sleep(500 * time.Millisecond)
		fence.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if got, _ := cause.Load().(error); !errors.Is(got, keystrand.ErrLost) {
			t.Errorf("I8: cause of the handler's ctx = %v, want ErrLost", got)
		}
		e := src.epochs(0)
		if len(e) != 2 || e[0].tried != 1 {
			t.Fatalf("I8: %d epochs, the first tried %d commits; want 2, the first 1", len(e), e[0].tried)
		}
		if len(src.epochs(1)) != 1 {
			t.Error("the other partition is released, too")
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if c := log.Group("").Committed(0); c.Frontier != 3 {
			t.Errorf("committed %+v, want 3", c)
		}
	})
}

// After a crash with 10 messages handled and 8 committed, exactly 2 are handled again.
func TestTenHandledEightCommittedRepeatsExactlyTwo(t *testing.T) { // seed 4
	run := func(t *testing.T, orderly bool) int {
		t.Helper()
		l := newLedger(t)
		log := memory.NewLog("posts", 1)
		add := func(n int) {
			for range n {
				l.put(0, log.Append(0, keyed("k"))-1, "k")
			}
		}
		add(8)
		mem := memory.NewSource(memory.Config{}, log)
		r := start(t, pipeline.From(watch(t, mem, l)).Handle(l.handler(nothing)))
		time.Sleep(1100 * time.Millisecond)
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 8 {
			t.Fatalf("committed %+v, want 8", c)
		}
		add(2)
		synctest.Wait()
		if orderly {
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
		} else {
			mem.Crash()
			if err := r.wait(); !errors.Is(err, memory.ErrCrashed) {
				t.Fatal(err)
			}
		}
		readOn(t, log, l)
		return l.repeats()
	}
	t.Run("crash", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if n := run(t, false); n != 2 {
				t.Errorf("I4: %d repeats, want 2", n)
			}
		})
	})
	t.Run("leave", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if n := run(t, true); n != 0 {
				t.Errorf("I4: %d repeats, want 0", n)
			}
		})
	})
}
