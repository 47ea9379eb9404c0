package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// I4: commits keep their interval under load, even if those of another partition hang. So a crash replays at most what
// was settled in one interval and the duration of a commit.
func TestCommitsKeepTheirIntervalAndLimitReplays(t *testing.T) {
	for _, crash := range []time.Duration{5 * time.Second, 5*time.Second + 30*time.Millisecond, 5*time.Second + 130*time.Millisecond, 5*time.Second + 249*time.Millisecond} {
		t.Run(crash.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions, hangs = 3, 2
				const interval, takes, every = 250 * time.Millisecond, 40 * time.Millisecond, 10 * time.Millisecond
				l := newLedger(t)
				log := memory.NewLog("posts", partitions)
				mem := memory.NewSource(memory.Config{BeforeCommit: func(ctx context.Context, id source.ID, _ *commit.Progress) error {
					if id.Partition == hangs {
						<-ctx.Done()
						return ctx.Err()
					}
					time.Sleep(takes)
					return nil
				}}, log)
				run := start(t, pipeline.From(watch(t, mem, l)).Handle(l.handler(func(_ context.Context, m *keystrand.Message) error {
					if m.Offset%3 == 0 {
						time.Sleep(time.Millisecond)
					}
					return nil
				})).Timing(pipeline.Timing{CommitInterval: interval}))
				began := time.Now()
				for i := 0; time.Since(began) < crash; i++ {
					for p := range int32(partitions) {
						key := fmt.Sprintf("k%d", i%7)
						l.put(p, log.Append(p, keyed(key))-1, key)
					}
					time.Sleep(every)
					synctest.Wait()
					tick := time.Since(began).Truncate(interval)
					if time.Since(began)-tick <= takes {
						tick -= interval // the commit of that tick is still running
					}
					want := int64(tick/every) - 1
					for p := range int32(hangs) {
						if c := log.Group("").Committed(p); want > 0 && (c == nil || c.Frontier < want) {
							t.Fatalf("I4: after %v the commit is %+v (partition %d), want all of %d", time.Since(began), c, p, want)
						}
					}
				}
				mem.Crash()
				if err := run.wait(); !errors.Is(err, memory.ErrCrashed) {
					t.Fatal(err)
				}
				readOn(t, log, l)
				repeats := map[int32]int{}
				for at, times := range l.settled {
					repeats[at.partition] += times - 1
				}
				t.Logf("replays: %v", repeats)
				for p := range int32(hangs) {
					if most := int((interval+takes)/every) + 1; repeats[p] > most {
						t.Errorf("I4: %d messages of partition %d are handled again, at most %d were settled since the last commit", repeats[p], p, most)
					}
				}
			})
		})
	}
}
