package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// I8, I11: the source lets go at its deadline. Whatever the pipeline is doing by then, its last commit comes before.
func TestLastCommitComesBeforeTheSourcesDeadline(t *testing.T) {
	for _, c := range []struct {
		name              string
		stopFirst, ignore bool
	}{
		{name: "asked back"},
		{name: "asked back while it stops", stopFirst: true},
		{name: "asked back, with a handler that is given up", ignore: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("long"), keyed("short"), keyed("short"))
				mem := memory.NewSource(memory.Config{LeaveTimeout: 8 * time.Second}, log)
				src := watch(t, mem, nil)
				let := make(chan struct{})
				var once atomic.Bool
				b := pipeline.From(src).Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
					if m.Offset > 0 || once.Swap(true) {
						return nil
					}
					if c.ignore {
						<-let
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})).Timing(pipeline.Timing{DrainTimeout: time.Minute, StuckAfter: 10 * time.Second, CommitInterval: time.Hour})
				if c.ignore {
					b.AbandonStuck()
				}
				run := start(t, b)
				time.Sleep(time.Second) // the executor takes what is behind a stuck handler over within a millisecond
				if c.stopFirst {
					run.cancel(nil)
					time.Sleep(time.Second)
				}
				mem.AskBack("posts", 0)
				time.Sleep(7900 * time.Millisecond)
				e := src.epochs(0)[0]
				if !e.isReleased() {
					t.Error("it is not released before the deadline")
				}
				if len(e.commits) != 1 || !e.commits[0].Settled(1) || !e.commits[0].Settled(2) {
					t.Errorf("commits %+v, want one with what is settled", e.commits)
				}
				close(let)
				err := run.stop()
				if _, stuck := errors.AsType[*pipeline.StuckError](err); err != nil && !c.ignore || stuck != c.ignore {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}
