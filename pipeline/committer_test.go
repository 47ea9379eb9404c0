package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
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

// I10: a commit that has its answer may still be telling the log when its partition is released. Run waits for that.
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
			t.Error("the log hears of no failed commit: the test is void")
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if telling.Load() {
			t.Error("I10: Run has returned, and a commit still tells the log")
		}
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 10 {
			t.Errorf("committed %+v, want 10", c)
		}
	})
}
