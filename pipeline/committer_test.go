package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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

// I10: a commit may still be writing its log line when its partition is released. Run waits for it.
func TestRunWaitsForACommitThatTellsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		var tries atomic.Int32
		mem := memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
			if tries.Add(1) == 1 {
				return errors.New("store is down")
			}
			return nil
		}}, log)
		var telling atomic.Bool
		run := start(t, pipeline.From(watch(t, mem, nil)).Handle(keystrand.HandlerFunc(nothing)).
			Logger(slog.New(atLine{begins: "commit failed", then: func() {
				telling.Store(true)
				time.Sleep(time.Hour)
				telling.Store(false)
			}})))
		time.Sleep(time.Minute)
		if !telling.Load() {
			t.Error("no failed commit was logged: the test proves nothing")
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if telling.Load() {
			t.Error("I10: Run returned while a commit was writing its log line")
		}
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 10 {
			t.Errorf("committed %+v, want 10", c)
		}
	})
}

// I8: while a commit ignores the end of its ctx, no other commit and no Release begins. The log reports the wait, and Run
// returns without the commit.
func TestCommitThatIgnoresItsContextIsWaitedForAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(50, 7)...)
		log.Append(1, keysOf(50, 7)...)
		hang := make(chan struct{})
		var out buffer
		src := memory.NewSource(memory.Config{BeforeCommit: func(_ context.Context, id source.ID, _ *commit.Progress) error {
			if id.Partition == 0 {
				<-hang
			}
			return nil
		}}, log)
		w := watch(t, src, nil)
		run := start(t, pipeline.From(w).
			Handle(keystrand.HandlerFunc(nothing)).
			Timing(pipeline.Timing{CommitTimeout: time.Second, StuckAfter: time.Second}).
			Logger(out.logger()))
		time.Sleep(2 * time.Second)
		run.cancel(nil)
		time.Sleep(time.Minute)
		if !out.has("Commit of the source") {
			t.Error("the log does not report the wait for Commit")
		}
		if c := log.Group("").Committed(1); c == nil || c.Frontier != 50 {
			t.Errorf("committed %+v of the other partition, want frontier 50", c)
		}
		if w.epochs(0)[0].isReleased() {
			t.Error("I8: partition released while a commit was running")
		}
		wantStuck(t, run, "Commit of the source for posts/0#1")
		close(hang)
		synctest.Wait()
		if !w.epochs(0)[0].isReleased() {
			t.Error("partition not released after the commit has returned")
		}
	})
}

func TestCommitThatEndsItsGoroutineHasFailedAndIsTriedAgain(t *testing.T) {
	for _, last := range []bool{false, true} {
		t.Run(fmt.Sprint("last ", last), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(50, 7)...)
				tries := 0
				src := memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
					if tries++; tries == 1 {
						runtime.Goexit()
					}
					return nil
				}}, log)
				var out buffer
				timing := pipeline.Timing{}
				if last {
					timing.CommitInterval = time.Hour
				}
				run := start(t, pipeline.From(watch(t, src, nil)).Handle(keystrand.HandlerFunc(nothing)).Timing(timing).Logger(out.logger()))
				time.Sleep(3 * time.Second)
				if err := run.stop(); err != nil {
					t.Error(err)
				}
				if c := log.Group("").Committed(0); c == nil || c.Frontier != 50 {
					t.Errorf("committed %+v, want frontier 50", c)
				}
				if !out.has("Commit of the source called runtime.Goexit") {
					t.Error("the log does not report the Goexit of Commit")
				}
			})
		})
	}
}
