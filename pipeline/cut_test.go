package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// deafFirst ignores the end of its ctx at offset 0 for an hour, so that the test can examine the partition after the
// drain.
func deafFirst(m *keystrand.Message) {
	if m.Offset == 0 {
		time.Sleep(time.Hour)
	}
}

// untilTold is a sink that stores nothing: a Write blocks until its ctx ends.
func untilTold(ctx context.Context, _ []keystrand.Message) error { <-ctx.Done(); return ctx.Err() }

// drained stops a pipeline and returns the snapshot of its only partition after the drain.
func drained(t *testing.T, run *running) pipeline.PartitionSnapshot {
	t.Helper()
	run.cancel(nil)
	time.Sleep(time.Minute)
	s := run.Snapshot()
	conserve(t, s)
	if len(s.Partitions) != 1 {
		t.Fatalf("%d partitions are owned, want the one whose handler does not return", len(s.Partitions))
	}
	return s.Partitions[0]
}

// I9: outputs waiting behind a running Write are dropped, as those in it are.
func TestOutputsBehindARunningWriteCountAsDroppedWhenCut(t *testing.T) {
	for name, letters := range map[string]bool{"outputs": false, "dead letters": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Limits(pipeline.Limits{Writers: 1}).Timing(pipeline.Timing{DrainTimeout: time.Second})
				if letters {
					b.Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
						deafFirst(m)
						return errBoom
					})).OnFailure(pipeline.DeadLetter(sinkFunc(untilTold)))
				} else {
					b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						deafFirst(m)
						emit(*m)
						return nil
					})).To(sinkFunc(untilTold))
				}
				run := start(t, b)
				for i := range 10 { // the first is being written, the others wait
					log.Append(0, keyed(fmt.Sprint("k", i)))
					time.Sleep(time.Minute)
				}
				if p := run.part(t, 0); p.Sinking+p.Parked != 9 || p.Dropped != 0 {
					t.Errorf("I9: %d sinking or parked, %d dropped; want 9 and 0", p.Sinking+p.Parked, p.Dropped)
				}
				if p := drained(t, run); p.Sinking != 0 || p.Dropped != 9 || p.Running != 1 {
					t.Errorf("I9: %d sinking, %d dropped, %d running after the drain; want 0, 9 and 1", p.Sinking, p.Dropped, p.Running)
				}
				if err := run.wait(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// I9: a slow policy decides to dead-letter a message after the outputs of its partition are cut.
func TestRefusedOutputCountsAsDroppedWhenItsPolicyReturnsAfterTheCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("deaf"), keyed("refused"))
		dlq := sinkmemory.New()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				deafFirst(m)
				emit(*m)
				return nil
			})).
			To(sinkFunc(func(context.Context, []keystrand.Message) error { return keystrand.Permanent(errors.New("too large")) })).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				time.Sleep(10 * time.Second)
				return pipeline.DeadLetter(dlq)(f)
			}).
			Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Second) // the policy is running
		if p := drained(t, run); p.Sinking != 0 || p.Dropped != 1 {
			t.Errorf("I9: %d sinking, %d dropped after the drain; want 0 and 1", p.Sinking, p.Dropped)
		}
		if n := len(dlq.Messages()); n != 0 {
			t.Errorf("I8: %d dead letters were written after the drain", n)
		}
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
	})
}

// I9: an output is cut before its message has left its lane: the worker still runs other turns of the same claim.
func TestOutputIsCountedOnceWhenCutBeforeItsMessageLeavesTheLane(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // else a claim leaves lanes to the workers of other processors
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		let := make(chan struct{})
		letGo := sync.OnceFunc(func() { close(let) })
		defer letGo()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				switch string(m.Key) {
				case "deaf":
					<-let
				case "late":
					emit(*m)
				}
				return nil
			})).
			To(sinkFunc(untilTold)).Limits(pipeline.Limits{Workers: 1}).
			Timing(pipeline.Timing{DrainTimeout: time.Nanosecond})) // shorter than the time after which a claim counts as stuck
		log.Append(1, keysOf(1000, 50)...) // so that the executor knows that turns are short
		synctest.Wait()
		log.Append(0, keyed("late"), keyed("deaf"))
		synctest.Wait()
		if p := run.part(t, 0); p.Running != 2 {
			t.Fatalf("%d messages are running, want two of one claim: the test proves nothing", p.Running)
		}
		run.cancel(nil)
		time.Sleep(time.Microsecond)
		synctest.Wait()
		conserve(t, run.Snapshot())
		letGo()
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
	})
}
