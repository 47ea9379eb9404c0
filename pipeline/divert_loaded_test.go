package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// However many keys are diverted, records that are loaded take an eighth of InFlight, and one more for each key that gets
// nothing of it. With handlers of batches they may be 256 full batches.
func TestLoadedRecordsTakeAnEighthOfInFlight(t *testing.T) {
	const keys, each, inFlight, batch = 60, 300, 4000, 2
	for name, most := range map[string]int{"one by one": inFlight / 8, "batches": 256 * batch} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handle := func(ctx context.Context, ms []*keystrand.Message) error {
					time.Sleep(time.Duration(len(ms)) * 10 * time.Millisecond)
					if ms[0].Offset%7 == 0 && ms[0].Attempt == 1 {
						return keystrand.RetryAfter(time.Second, errBoom)
					}
					return ctx.Err()
				}
				log, store := source.NewLog("posts", 1), memory.New()
				b := pipeline.From(source.NewSource(source.Config{}, log)).Divert(store).Limits(pipeline.Limits{InFlight: inFlight, MaxBatch: batch})
				if name == "batches" {
					b.HandleBatchFunc(handle)
				} else {
					b.HandleFunc(func(ctx context.Context, m *keystrand.Message) error { return handle(ctx, []*keystrand.Message{m}) })
				}
				run := start(t, b)
				for i := range keys * each {
					log.Append(0, keyed(fmt.Sprint("k", i%keys)))
				}
				peak := 0
				for range 10_000 {
					time.Sleep(time.Millisecond)
					records, all, _ := run.Loaded()
					if peak = max(peak, records); all != most || records > most+keys {
						t.Fatalf("%d records are loaded, and the pool has %d; want %d and one for each of %d keys", records, all, most, keys)
					}
				}
				if peak < most/2 {
					t.Errorf("%d records were loaded at most, want about %d: the test shows nothing", peak, most)
				}
				time.Sleep(time.Hour)
				if records, all, free := run.Loaded(); records != 0 || free != all || len(store.Strands("posts", 0)) != 0 {
					t.Errorf("%d records are loaded, %d of %d free in the end", records, free, all)
				}
				if err := run.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
