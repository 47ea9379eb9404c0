package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// I10: whenever ctx ends, Run returns within DrainTimeout and a bounded rest, commits what is settled and leaves no
// goroutine, which would fail the bubble.
func TestRunReturnsInTimeWheneverItsContextEnds(t *testing.T) {
	const drain, stuckAfter, commitTimeout = 3 * time.Second, 2 * time.Second, 4 * time.Second
	// All but the last of the first messages settle at once. The last settles so late in the drain that only the last
	// commit has it. The others never settle.
	const settles = 6
	slow := func(late time.Duration) func(context.Context, *keystrand.Message) error {
		return func(ctx context.Context, m *keystrand.Message) error {
			switch {
			case m.Offset >= settles:
				return hold(ctx, m)
			case m.Offset == settles-1:
				time.Sleep(late)
			}
			return nil
		}
	}
	parks := func(_ context.Context, m *keystrand.Message) error {
		if m.Offset >= settles {
			return keystrand.RetryAfter(time.Hour, nil)
		}
		return nil
	}
	// One message settles after the first commit, which is stored, and before the second, which hangs.
	late := func(_ context.Context, m *keystrand.Message) error {
		if m.Offset == settles {
			time.Sleep(1200 * time.Millisecond)
		}
		return nil
	}
	for _, c := range []struct {
		name     string
		messages int
		handle   func(context.Context, *keystrand.Message) error
		cfg      memory.Config
		when     time.Duration
		within   time.Duration
		leave    bool          // the partitions are revoked just before
		taken    bool          // another member owns all partitions, so Accept blocks
		hangs    bool          // all commits but the first hang
		waits    pipeline.Wait // why fetching waits at the end of ctx
		settled  int           // messages
		stored   int           // of these: committed in the end
	}{
		{name: "before it starts", messages: 10, handle: nothing, when: -1, within: 0},
		{name: "accept blocks", messages: 10, handle: nothing, taken: true, when: time.Second, within: 0},
		{name: "fetch blocks", messages: 10, handle: nothing, when: 500 * time.Millisecond, within: 0, waits: pipeline.WaitSource, settled: 10, stored: 10},
		{name: "handlers run until the drain ends", messages: 10, handle: slow(3200 * time.Millisecond), when: 500 * time.Millisecond, within: drain, waits: pipeline.WaitSource, settled: settles, stored: settles},
		{name: "lanes are parked", messages: 10, handle: parks, when: 500 * time.Millisecond, within: 0, waits: pipeline.WaitSource, settled: settles, stored: settles},
		{name: "commit hangs", messages: 10, handle: late, hangs: true, when: 2500 * time.Millisecond, within: commitTimeout, waits: pipeline.WaitSource, settled: 10, stored: 9},
		{name: "hand-over", messages: 10, handle: slow(3200 * time.Millisecond), when: 500 * time.Millisecond, within: drain, leave: true, waits: pipeline.WaitSource, settled: settles, stored: settles},
		{name: "hand-over with a deadline", messages: 10, handle: slow(1300 * time.Millisecond), cfg: memory.Config{LeaveTimeout: 1800 * time.Millisecond}, when: 500 * time.Millisecond, within: drain, leave: true, waits: pipeline.WaitSource, settled: settles, stored: settles},
		{name: "the budget is used up", messages: 5000, handle: slow(3200 * time.Millisecond), when: 500 * time.Millisecond, within: drain, waits: pipeline.WaitBudget, settled: settles, stored: settles},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(c.messages, 8)...)
				if c.taken {
					other := memory.NewSource(c.cfg, log)
					if _, err := other.Accept(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				var commits atomic.Int32
				if c.hangs {
					c.cfg.BeforeCommit = func(ctx context.Context, _ source.ID, _ *commit.Progress) error {
						if commits.Add(1) > 1 {
							<-ctx.Done()
						}
						return ctx.Err()
					}
				}
				mem := memory.NewSource(c.cfg, log)
				ctx, cancel := context.WithCancel(t.Context())
				if c.when < 0 {
					cancel()
				}
				var settled sync.Map // offset
				run := startWith(t, ctx, pipeline.From(watch(t, mem, nil)).
					Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
						err := c.handle(ctx, m)
						if err == nil {
							settled.Store(m.Offset, true)
						}
						return err
					})).
					Limits(pipeline.Limits{InFlight: 1000, KeyShare: 1000}).
					Timing(pipeline.Timing{DrainTimeout: drain, StuckAfter: stuckAfter, CommitTimeout: commitTimeout}))
				time.Sleep(max(c.when, 0))
				synctest.Wait()
				switch owned := len(run.Snapshot().Partitions); {
				case c.when < 0 || c.taken:
					if owned != 0 {
						t.Errorf("%d partitions are owned, want none", owned)
					}
				default:
					if p := run.part(t, 0); p.Waits != c.waits {
						t.Errorf("fetching waits for %v, want %v", p.Waits, c.waits)
					}
				}
				if c.leave {
					mem.Revoke("posts", 0)
					synctest.Wait()
				}
				began := time.Now()
				cancel()
				if err := run.wait(); err != nil {
					t.Errorf("Run = %v", err)
				}
				if d := time.Since(began); d > c.within {
					t.Errorf("I10: Run returned after %v, want at most %v", d, c.within)
				}
				p, handled, stored := log.Group("").Committed(0), 0, 0
				for o := range int64(c.messages) {
					_, ok := settled.Load(o)
					if ok {
						handled++
					}
					if p != nil && p.Settled(o) {
						if stored++; !ok {
							t.Errorf("I3: offset %d is committed and not settled", o)
						}
					}
				}
				if handled != c.settled || stored != c.stored {
					t.Errorf("%d messages are settled, %d committed; want %d, %d: %+v", handled, stored, c.settled, c.stored, p)
				}
			})
		})
	}
}

// While the pipeline drains, its state is Stopping and it is not ready.
func TestStateIsStoppingWhileThePipelineDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(1, 1)...)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Handle(keystrand.HandlerFunc(
			func(context.Context, *keystrand.Message) error { time.Sleep(10 * time.Second); return nil })))
		synctest.Wait()
		if s := run.Snapshot().State; s != pipeline.Running || !run.Ready() {
			t.Errorf("state %v, ready %v", s, run.Ready())
		}
		run.cancel(nil)
		time.Sleep(time.Second)
		if s := run.Snapshot().State; s != pipeline.Stopping || run.Ready() {
			t.Errorf("state %v, ready %v; want stopping, not ready", s, run.Ready())
		}
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot().State; s != pipeline.Stopped || run.Ready() {
			t.Errorf("state %v, ready %v", s, run.Ready())
		}
	})
}

// I11: 20 restarts under load, with handlers that return their ctx's error. No message is dead-lettered or lost.
func TestTwentyRestartsUnderLoadDeadLetterNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dice{r: random(t, 11)}
		l := newLedger(t)
		log := memory.NewLog("posts", 4)
		fill(l, log, 4, 1000, 40, d.r)
		log.Close()
		dlq := sinkmemory.New()
		for restart := 0; ; restart++ {
			ctx, cancel := context.WithCancel(t.Context())
			run := startWith(t, ctx, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).
				Handle(l.handler(func(ctx context.Context, _ *keystrand.Message) error {
					select {
					case <-time.After(time.Duration(d.roll(400)) * time.Millisecond):
						return nil
					case <-ctx.Done():
						switch d.roll(3) {
						case 0:
							return fmt.Errorf("save: %w", ctx.Err())
						case 1:
							return keystrand.Permanent(context.Cause(ctx))
						}
						return keystrand.RetryAfter(time.Second, ctx.Err())
					}
				})).
				OnFailure(pipeline.DeadLetter(dlq)).
				Limits(pipeline.Limits{Workers: 30}).Timing(pipeline.Timing{DrainTimeout: 100 * time.Millisecond}))
			if restart < 20 {
				time.Sleep(time.Duration(d.roll(800)) * time.Millisecond)
				cancel()
			}
			err := run.wait()
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if s := run.Snapshot(); s.Failed != 0 || s.Retried != 0 {
				t.Errorf("I11: restart %d: %d failures and %d retries counted", restart, s.Failed, s.Retried)
			}
			if restart == 20 {
				break
			}
		}
		if n := len(dlq.Messages()); n != 0 {
			t.Errorf("I11: %d dead letters", n)
		}
		l.checkAllSettled()
		if n := l.repeats(); n != 0 {
			t.Errorf("%d messages were settled twice: an orderly stop repeats nothing that was settled", n)
		}
	})
}

// I11: a message whose handler returns nil after the cancel, but before the last commit, is settled.
func TestSuccessAfterCancelStillSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(2, 2)...)
		type key struct{}
		var cause error
		var value any
		var failed atomic.Bool
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "carried"))
		run := startWith(t, ctx, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it completes its work
				if m.Offset == 0 {
					cause, value = context.Cause(ctx), ctx.Value(key{})
					return nil
				}
				return errors.New("neither success nor failure")
			})).
			OnFailure(func(f pipeline.Failure) pipeline.Action { failed.Store(true); return pipeline.Skip(f) }).
			Timing(pipeline.Timing{DrainTimeout: 5 * time.Second}))
		time.Sleep(time.Second) // lanes behind a stuck handler are taken over within 1 ms
		began := time.Now()
		cancel()
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 6*time.Second {
			t.Errorf("I11: Run returned after %v: the ctx ended %v after the stop, want 5 s", d, d-time.Second)
		}
		if !errors.Is(cause, keystrand.ErrStopping) || value != "carried" {
			t.Errorf("cause %v, value %v", cause, value)
		}
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 1 || failed.Load() {
			t.Errorf("I11: committed %+v, want 1; policy asked: %v", c, failed.Load())
		}
	})
}

// A message that cannot be read stops the pipeline. The other partitions drain and commit, and no frontier passes the
// message.
func TestFetchErrorDrainsOtherPartitionsAndNamesItsOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 3)
		for p := range int32(3) {
			log.Append(p, keysOf(100, 10)...)
		}
		corrupt := errors.New("crc does not match")
		src := watch(t, memory.NewSource(memory.Config{FetchFault: func(id source.ID, offset int64) error {
			if id.Partition == 1 && offset == 42 {
				time.Sleep(55 * time.Millisecond) // messages of the other partitions are running
				return corrupt
			}
			return nil
		}}, log), nil)
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		})).Limits(pipeline.Limits{Workers: 1000}))
		err := run.wait()
		if !errors.Is(err, corrupt) || !strings.Contains(err.Error(), "posts/1") || !strings.Contains(err.Error(), "42") {
			t.Errorf("Run = %v, want the cause with partition and offset", err)
		}
		for p := range int32(3) {
			c := log.Group("").Committed(p)
			if c == nil || p == 1 && c.Frontier > 42 {
				t.Errorf("partition %d: committed %+v", p, c)
				continue
			}
			settled := int64(0)
			for o := range int64(100) {
				if c.Settled(o) {
					settled++
				}
			}
			if settled < 10 {
				t.Errorf("partition %d: %d messages settled and committed, want at least the running one of each key", p, settled)
			}
		}
	})
}

func TestAcceptErrorIsReturnedAfterTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		p, err := pipeline.From(memory.NewSource(memory.Config{CommitLimit: -1}, log)).Handle(keystrand.HandlerFunc(nothing)).Build()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "CommitLimit") {
			t.Errorf("Run = %v", err)
		}
	})
}

// Runs and stops many pipelines concurrently, without a bubble, so that the race detector sees real parallelism.
func TestManyPipelinesRunAndStopConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 10 {
		wg.Go(func() {
			for i := range 20 {
				log := memory.NewLog("posts", 2)
				log.Append(0, keysOf(30, 5)...)
				mem := memory.NewSource(memory.Config{}, log)
				out := sinkmemory.New()
				b := pipeline.From(watch(t, mem, nil)).Timing(pipeline.Timing{CommitInterval: time.Millisecond})
				if (g+i)%2 == 0 {
					b.Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
						if m.Attempt == 1 && m.Offset%3 == 0 {
							return keystrand.RetryAfter(time.Microsecond, nil)
						}
						return nil
					}))
				} else {
					b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						emit(*m)
						return nil
					})).To(out)
				}
				p, err := b.Build()
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				var helpers sync.WaitGroup
				helpers.Go(func() {
					log.Append(1, keysOf(30, 5)...)
					mem.Revoke("posts", 0)
					_ = p.Snapshot()
					mem.Lose("posts", 1)
				})
				helpers.Go(func() {
					for range i {
						conserve(t, p.Snapshot())
						_ = p.SetWorkers(1 + i)
						p.PausePartition("posts", 1)
						p.ResumePartition("posts", 1)
						p.ResumeAll("posts", 0)
					}
					cancel()
				})
				if err := p.Run(ctx); err != nil {
					t.Errorf("Run = %v", err)
				}
				helpers.Wait()
			}
		})
	}
	wg.Wait()
}
