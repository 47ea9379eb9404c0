package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// MaxBatchBytes bounds the turns of a lane and of a log alike. A message that is larger is handled alone.
func TestTurnsOfLanesAndLogsStayWithinMaxBatchBytes(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprint("stored ", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := source.NewLog("posts", 1)
				var turns [][]int64
				var open atomic.Bool
				run := start(t, pipeline.From(watch(t, source.NewSource(source.Config{}, log), nil)).Divert(memory.New()).
					HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
						if !open.Load() {
							return &keystrand.BatchError{Err: errBoom}
						}
						var turn []int64
						for _, m := range ms {
							turn = append(turn, m.Offset)
						}
						turns = append(turns, turn)
						return nil
					}).
					Limits(pipeline.Limits{MaxBatch: 4, MaxBatchBytes: 100}).
					OnFailure(func(f pipeline.Failure) pipeline.Action {
						if stored {
							return pipeline.Hold(f)
						}
						return pipeline.Block(f)
					}))
				for _, size := range []int{1, 50, 49, 40, 50, 300, 99, 1, 1, 1, 1, 1, 1, 101, 1} {
					log.Append(0, keystrand.Message{Key: []byte("k"), Value: make([]byte, size-1)})
				}
				time.Sleep(3 * time.Second)
				open.Store(true)
				if stored {
					if _, err := run.ResumeHeld(t.Context(), "posts", 0, "k", "ann"); err != nil {
						t.Error(err)
					}
				} else {
					run.Resume("posts", 0, "k")
				}
				time.Sleep(3 * time.Second)
				if err := run.stop(); err != nil {
					t.Error(err)
				}
				want := [][]int64{{0, 1, 2}, {3, 4}, {5}, {6, 7}, {8, 9, 10, 11}, {12}, {13}, {14}}
				if !slices.EqualFunc(turns, want, slices.Equal) {
					t.Errorf("turns %v, want %v", turns, want)
				}
			})
		})
	}
}
