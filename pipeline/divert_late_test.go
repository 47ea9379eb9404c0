// Virtual time: the test runs in a bubble.

package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// A record is readable before its Append has returned, so a fast handler drains it before it is counted as appended.
func TestDivertCountsARecordOnceThatIsDrainedBeforeItsAppendReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := source.NewLog("posts", 1)
		store := memory.New()
		store.SetFault(func(_ context.Context, c memory.Call) error {
			if c.Op == memory.Append && c.Stored {
				time.Sleep(300 * time.Millisecond) // its reply is late
			}
			return nil
		})
		handled := 0
		run := start(t, pipeline.From(source.NewSource(source.Config{}, log)).
			HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
				time.Sleep(5 * time.Millisecond)
				handled += len(ms)
				return nil
			}).Divert(store).Limits(pipeline.Limits{Workers: 16, InFlight: 1000}))
		for range 20_000 {
			log.Append(0, keyed("hot"))
			time.Sleep(50 * time.Microsecond) // 20,000/s: more than 64 in 5 ms
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		s := run.part(t, 0)
		if handled != 20_000 || s.Diverting.Strands != 0 || s.Diverting.Records != 0 || s.Diverting.Bytes != 0 {
			t.Errorf("%d handled, %+v; want 20000, no records", handled, s.Diverting)
		}
		if s.Diverting.Appended == 0 {
			t.Error("nothing was diverted")
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}
