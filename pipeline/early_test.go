package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// I6: a stuck key must not make its partition wait for the commit ticks, as long as commits can express the messages
// settled behind it.
func TestStuckKeyDoesNotMakeItsPartitionWaitForCommitTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, most = 2_000, 100
		log := memory.NewLog("posts", 1)
		for i := range n {
			log.Append(0, keystrand.Message{Key: fmt.Append(nil, i)})
		}
		settled := make(chan struct{}, n)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
				if m.Offset == 0 {
					<-ctx.Done()
					return ctx.Err()
				}
				time.Sleep(time.Millisecond)
				settled <- struct{}{}
				return nil
			})).
			Limits(pipeline.Limits{MaxReplay: most, Workers: 11}).
			Timing(pipeline.Timing{DrainTimeout: time.Millisecond}))
		began := time.Now()
		for range n - 1 {
			<-settled
		}
		// Ten concurrent turns of 1 ms are 200 ms of work; commits on ticks alone would allow 100 messages a second.
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("took %v of virtual time", d)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
