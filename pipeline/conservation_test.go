package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// conserve checks I9 for a snapshot.
func conserve(t *testing.T, s pipeline.Snapshot) (inFlight int64) {
	t.Helper()
	for _, p := range s.Partitions {
		if p.Accepted != p.Settled+p.Running+p.Ready+p.Parked+p.Sinking+p.Dropped {
			t.Errorf("I9: %v: accepted %d != settled %d + running %d + ready %d + parked %d + sinking %d + dropped %d",
				p.ID, p.Accepted, p.Settled, p.Running, p.Ready, p.Parked, p.Sinking, p.Dropped)
		}
		for _, n := range []int64{p.Accepted, p.Settled, p.Running, p.Ready, p.Parked, p.Sinking, p.Dropped, p.Lag, p.Replays} {
			if n < 0 {
				t.Errorf("I9: %v has a negative count: %+v", p.ID, p)
			}
		}
		inFlight += p.Running + p.Ready + p.Parked + p.Sinking + p.Dropped
	}
	if s.InFlight < 0 || s.InFlightBytes < 0 {
		t.Errorf("I9: in flight %d messages, %d bytes", s.InFlight, s.InFlightBytes)
	}
	return inFlight
}

// I9: accepted = settled + running + ready + parked + sinking + dropped at any moment. Whenever nothing runs, each
// count is exact.
func TestCountsAddUpAtAnyMoment(t *testing.T) {
	for _, how := range []string{"handler", "batch", "sink"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dice{r: random(t, 9)}
				log := memory.NewLog("posts", 3)
				for p := range int32(3) {
					log.Append(p, keysOf(300, 23)...)
				}
				var handled, running, letters atomic.Int64 // letters counts dead-letter decisions
				work := func(context.Context, *keystrand.Message) error {
					running.Add(1)
					defer running.Add(-1)
					time.Sleep(time.Duration(d.roll(30)) * time.Millisecond)
					switch d.roll(8) {
					case 0:
						return keystrand.RetryAfter(time.Duration(d.roll(500))*time.Millisecond, nil)
					case 1:
						return errors.New("failed")
					}
					if how != "batch" {
						handled.Add(1)
					}
					return nil
				}
				dlq, out := sinkmemory.New(), sinkmemory.New()
				slow := func(ctx context.Context, _ *keystrand.Message) error {
					select {
					case <-time.After(time.Duration(d.roll(40)) * time.Millisecond):
					case <-ctx.Done():
						return ctx.Err()
					}
					if d.roll(10) == 0 {
						return errors.New("no leader")
					}
					return nil
				}
				dlq.SetFault(slow)
				out.SetFault(slow)
				mem := memory.NewSource(memory.Config{}, log)
				b := pipeline.From(watch(t, mem, nil)).
					OnFailure(func(f pipeline.Failure) pipeline.Action {
						switch f.Message.Offset % 3 {
						case 0:
							return pipeline.Skip(f)
						case 1:
							letters.Add(1)
							return pipeline.DeadLetter(dlq)(f)
						}
						return pipeline.Block(f)
					}).Limits(pipeline.Limits{Workers: 12, FetchMessages: 50}).
					Timing(pipeline.Timing{DrainTimeout: 50 * time.Millisecond})
				switch how {
				case "handler":
					b.Handle(keystrand.HandlerFunc(work))
				case "batch":
					b.HandleBatch(keystrand.BatchHandlerFunc(func(ctx context.Context, ms []*keystrand.Message) error {
						for i, m := range ms {
							if err := work(ctx, m); err != nil {
								if ctx.Err() == nil { // otherwise it is neither success nor failure
									handled.Add(int64(i))
								}
								return &keystrand.BatchError{Settled: i, Err: err}
							}
						}
						handled.Add(int64(len(ms)))
						return nil
					}))
				default:
					b.Transform(keystrand.TransformerFunc(func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						emit(*m)
						return work(ctx, m)
					})).To(out)
				}
				run := start(t, b)
				left := false
				for range 150 {
					time.Sleep(time.Duration(d.roll(10)) * time.Millisecond)
					conserve(t, run.Snapshot()) // while turns run
					synctest.Wait()
					s := run.Snapshot()
					if n := conserve(t, s); len(s.Partitions) == 3 && n != int64(s.InFlight) {
						t.Errorf("I9: %d in flight, %d in lanes and before the sink", s.InFlight, n)
					}
					sinking := int64(0)
					for _, p := range s.Partitions {
						sinking += p.Sinking
					}
					// A partition that was released has dropped its dead letters.
					if want := letters.Load() - s.DeadLettered; how != "sink" && (sinking > want || !left && sinking < want) {
						t.Errorf("I9: %d sinking, want %d dead letters", sinking, want)
					}
					// Only the handler knows this number; it is exact while nothing runs.
					if int64(s.Running) != running.Load() {
						t.Errorf("I9: running %d, want %d", s.Running, running.Load())
					}
					done := handled.Load() + s.Skipped
					if how == "sink" {
						if n := len(out.Messages()); int64(n) < s.Written {
							t.Errorf("%d written, the sink has %d", s.Written, n)
						}
					} else if s.Settled != done+s.DeadLettered {
						t.Errorf("I9: settled %d, want handled %d + skipped %d + dead-lettered %d", s.Settled, handled.Load(), s.Skipped, s.DeadLettered)
					}
					if d.roll(60) == 0 {
						mem.Revoke("posts", int32(d.roll(3)))
						left = true
					}
					if d.roll(20) == 0 {
						run.ResumeAll("posts", int32(d.roll(3)))
					}
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
				if s := run.Snapshot(); s.InFlight != 0 || s.InFlightBytes != 0 {
					t.Errorf("I9: in flight after Run: %d messages, %d bytes", s.InFlight, s.InFlightBytes)
				}
			})
		})
	}
}

// I5: a message returns the budget that it was charged, even if a handler or middleware changes it.
func TestBudgetIsReturnedWhenTheHandlerChangesTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		for i := range 1000 {
			log.Append(0, keystrand.Message{Key: []byte{byte(i)}, Value: make([]byte, 100)})
		}
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Use(func(next keystrand.Next) keystrand.Next {
				return func(ctx context.Context, c *keystrand.Call) error {
					m := c.Messages[0]
					if m.Offset%3 == 0 {
						m.Value = slices.Repeat(m.Value, 10)
					} else {
						m.Value = nil
					}
					return next(ctx, c)
				}
			}).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
				time.Sleep(time.Millisecond)
				return nil
			})).Limits(pipeline.Limits{InFlightBytes: 5000, FetchMessages: 5}))
		time.Sleep(time.Minute)
		if s := run.Snapshot(); s.Settled != 1000 || s.InFlightBytes != 0 || s.MostBytes > 5000+5*101 {
			t.Errorf("settled %d, %d bytes in flight, most %d", s.Settled, s.InFlightBytes, s.MostBytes)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
