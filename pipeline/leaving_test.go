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
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// I8, I11: the source revokes the partition at its deadline. The last commit must come before, whatever the pipeline is
// doing.
func TestLastCommitComesBeforeTheSourcesDeadline(t *testing.T) {
	for _, c := range []struct {
		name              string
		stopFirst, ignore bool
	}{
		{name: "revoked"},
		{name: "revoked while it stops", stopFirst: true},
		{name: "revoked, with an abandoned handler", ignore: true},
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
				time.Sleep(time.Second) // lanes behind a stuck handler are taken over within 1 ms
				if c.stopFirst {
					run.cancel(nil)
					time.Sleep(time.Second)
				}
				mem.Revoke("posts", 0)
				time.Sleep(7900 * time.Millisecond)
				e := src.epochs(0)[0]
				if !e.isReleased() {
					t.Error("the partition is not released before the deadline")
				}
				if len(e.commits) != 1 || !e.commits[0].Settled(1) || !e.commits[0].Settled(2) {
					t.Errorf("commits %+v, want one with everything settled", e.commits)
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

// A Fetch that announces a revocation which never comes is a wait like any other: the log names it.
func TestErrLeavingWithoutAValueFromLeavingIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		src := &ends{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1)), fetch: source.ErrLeaving}
		run := start(t, pipeline.From(watch(t, src, nil)).HandleFunc(nothing).Logger(out.logger()))
		time.Sleep(10 * time.Minute)
		out.wantLine(t, 10, "a call has not returned; waiting", "level=WARN", `call="ErrLeaving of Fetch without a value from Leaving of posts/0#1" for=1.5s`)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// slowly is a source whose Fetch returns a second after its ctx has ended.
type slowly struct{ source.Source }

type slowPartition struct{ source.Partition }

func (s slowly) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return slowPartition{p}, nil
}

func (p slowPartition) Fetch(ctx context.Context, b *source.Batch) error {
	err := p.Partition.Fetch(ctx, b)
	if err != nil {
		time.Sleep(time.Second)
	}
	return err
}

// Another owner may already handle the messages of a lost partition, so the pipeline cancels its handlers before it waits
// for anything.
func TestLostPartitionCancelsHandlersBeforeWaitingForFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"))
		mem := memory.NewSource(memory.Config{}, log)
		told := make(chan time.Time, 2)
		run := start(t, pipeline.From(slowly{mem}).Handle(keystrand.HandlerFunc(func(ctx context.Context, _ *keystrand.Message) error {
			<-ctx.Done()
			told <- time.Now()
			return ctx.Err()
		})).Timing(pipeline.Timing{DrainTimeout: time.Millisecond}))
		time.Sleep(time.Minute)
		lost := time.Now()
		mem.Lose("posts", 0)
		if d := (<-told).Sub(lost); d > 0 {
			t.Errorf("the handler of the lost partition was cancelled after %v", d)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
