package pipeline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	spillmemory "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// Each call takes 5 ms, so one message a call makes 200 a second. The key gets 50 times as many.
func TestHotKeyWithBatchesReachesFiftyTimesItsRateWithoutDiverting(t *testing.T) { // seed 33, seed 35
	const handler, perSecond, seconds = 5 * time.Millisecond, 10_000, 3
	for _, workers := range []int{1, 64} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				var handled atomic.Int64
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
						time.Sleep(handler)
						handled.Add(int64(len(ms)))
						return nil
					}).
					Divert(spillmemory.New()).
					Limits(pipeline.Limits{Workers: workers, MaxBatch: 64}))
				for range seconds * 1_000 {
					log.Append(0, keysOf(perSecond/1_000, 1)...)
					time.Sleep(time.Millisecond)
				}
				time.Sleep(handler + time.Millisecond)
				if n := handled.Load(); n != perSecond*seconds {
					t.Errorf("%d of %d messages handled 6 ms after the last one", n, perSecond*seconds)
				}
				if d := run.Snapshot().Diverting; d.Appended > 0 {
					t.Errorf("%d messages diverted, want none", d.Appended)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
