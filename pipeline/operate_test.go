package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

func TestPausedPartitionHandlesNothingNewUntilResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(10, 3)...)
		mem := memory.NewSource(memory.Config{}, log)
		run := start(t, pipeline.From(watch(t, mem, nil)).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		run.PausePartition("posts", 0) // while its Fetch waits for messages
		synctest.Wait()
		log.Append(0, keysOf(10, 3)...)
		log.Append(1, keysOf(10, 3)...)
		time.Sleep(time.Hour)
		p, other := run.part(t, 0), run.part(t, 1)
		if p.Frontier != 10 || !p.Paused || p.Waits != pipeline.WaitPause || other.Frontier != 10 {
			t.Errorf("paused partition: %+v; frontier of the other: %d", p, other.Frontier)
		}
		// An operator's pause survives a hand-over.
		mem.Revoke("posts", 0)
		time.Sleep(time.Hour)
		if p := run.part(t, 0); p.ID.Epoch != 2 || p.Frontier != 10 || !p.Paused {
			t.Errorf("after the hand-over: %+v", p)
		}
		run.ResumePartition("posts", 0)
		synctest.Wait()
		if p := run.part(t, 0); p.Frontier != 20 || p.Paused {
			t.Errorf("after resume: %+v", p)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSetWorkersTakesEffectWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(5000, 500)...)
		var n atomic.Int32
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
				n.Add(1)
				defer n.Add(-1)
				time.Sleep(10 * time.Millisecond)
				return nil
			})).Limits(pipeline.Limits{Workers: 2}))
		for _, want := range []int{2, 50, 7, 1} {
			if err := run.SetWorkers(want); err != nil {
				t.Fatal(err)
			}
			time.Sleep(95 * time.Millisecond)
			synctest.Wait()
			s := run.Snapshot()
			if int(n.Load()) != want || s.Workers != want || s.Running != want || s.Bottleneck != pipeline.BottleneckWorkers {
				t.Errorf("%d handlers run; snapshot: %d of %d workers, bottleneck %v; want %d", n.Load(), s.Running, s.Workers, s.Bottleneck, want)
			}
		}
		if run.SetWorkers(0) == nil || run.SetWorkers(-1) == nil {
			t.Error("SetWorkers(0) returned no error")
		}
		_ = run.SetWorkers(500)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReadyOnceAPartitionIsOwned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		first := memory.NewSource(memory.Config{}, log)
		one := start(t, pipeline.From(first).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		two := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if !one.Ready() || two.Ready() {
			t.Errorf("ready: %v and %v, want true and false", one.Ready(), two.Ready())
		}
		if err := one.stop(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if one.Ready() || !two.Ready() {
			t.Errorf("ready: %v and %v, want false and true", one.Ready(), two.Ready())
		}
		if err := two.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// I1: messages of several lanes and barriers stay in order in all of their lanes, and so do their effects.
func TestSeveralLanesAndBarriersKeepTheirOrder(t *testing.T) {
	for _, sinks := range []bool{false, true} {
		t.Run(fmt.Sprintf("sink %v", sinks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dice{r: random(t, 21)}
				const n = 400
				lanes := make([][]string, n) // by message; nil for a barrier
				log := memory.NewLog("rows", 1)
				for i := range lanes {
					if d.roll(40) > 0 {
						for range 1 + d.roll(3) {
							lanes[i] = append(lanes[i], fmt.Sprintf("u%d", d.roll(15)))
						}
					}
					log.Append(0, keyed("row"))
				}
				log.Close()
				conflict := func(a, b int64) bool {
					return lanes[a] == nil || lanes[b] == nil || slices.ContainsFunc(lanes[a], func(l string) bool { return slices.Contains(lanes[b], l) })
				}
				var mu sync.Mutex
				var running, done []int64
				enter := func(o int64) {
					mu.Lock()
					defer mu.Unlock()
					for _, r := range running {
						if conflict(r, o) {
							t.Errorf("I1: %d and %d run concurrently", r, o)
						}
					}
					for b := range o {
						if conflict(b, o) && !slices.Contains(done, b) {
							t.Errorf("I1: %d starts before %d has ended", o, b)
						}
					}
					running = append(running, o)
				}
				leave := func(o int64, ok bool) {
					mu.Lock()
					defer mu.Unlock()
					running = slices.DeleteFunc(running, func(r int64) bool { return r == o })
					if ok {
						done = append(done, o)
					}
				}
				work := func(o int64) error {
					enter(o)
					time.Sleep(time.Duration(d.roll(20)) * time.Millisecond)
					ok := d.roll(10) > 0
					leave(o, ok)
					if !ok {
						return keystrand.RetryAfter(50*time.Millisecond, nil)
					}
					return nil
				}
				out := sinkmemory.New()
				out.SetFault(func(context.Context, *keystrand.Message) error {
					time.Sleep(time.Duration(d.roll(10)) * time.Millisecond)
					if d.roll(10) == 0 {
						return errors.New("no leader")
					}
					return nil
				})
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Key(func(m *keystrand.Message) (keystrand.Key, error) {
						if ls := lanes[m.Offset]; ls != nil {
							return keystrand.KeysOf(ls...), nil
						}
						return keystrand.Barrier(), nil
					}).Limits(pipeline.Limits{Workers: 8})
				if sinks {
					b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						// Within one lane the sink keeps the order, by the outputs' key.
						emit(keystrand.Message{Offset: m.Offset, Key: []byte(strings.Join(append(lanes[m.Offset], "")[:1], ""))})
						return work(m.Offset)
					})).To(out)
				} else {
					b.Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error { return work(m.Offset) }))
				}
				run := start(t, b)
				if err := run.wait(); err != nil {
					t.Fatal(err)
				}
				if len(done) != n {
					t.Errorf("%d handled", len(done))
				}
				if !sinks {
					return
				}
				stored := out.Messages()
				if len(stored) != n {
					t.Fatalf("%d stored", len(stored))
				}
				for i := range stored {
					for j := range i {
						if a, b := stored[j].Offset, stored[i].Offset; a > b && conflict(a, b) {
							t.Errorf("I1: the effect of %d is durable before that of %d", a, b)
						}
					}
				}
			})
		})
	}
}

// I6: a message of several lanes waits only for the outputs before it, not for an endless stream of later ones.
func TestMessageOfSeveralLanesIsNotStarvedByLaterOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("rows", 1)
		for i := range 3000 {
			log.Append(0, keyed(fmt.Sprintf("k%d", i%50)))
			if i == 1000 {
				log.Append(0, keyed("both"))
			}
		}
		out := sinkmemory.New()
		out.SetFault(func(context.Context, *keystrand.Message) error { time.Sleep(time.Millisecond); return nil })
		began := time.Now()
		var both time.Duration
		var at int64
		var n atomic.Int64
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Key(func(m *keystrand.Message) (keystrand.Key, error) {
				if string(m.Key) == "both" {
					return keystrand.KeysOf("x", "y"), nil
				}
				return keystrand.ByKey(m)
			}).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(*m)
				time.Sleep(5 * time.Millisecond)
				n.Add(1)
				return nil
			})).To(out).Limits(pipeline.Limits{Workers: 40}))
		for len(out.Key("both")) == 0 && time.Since(began) < time.Hour {
			time.Sleep(10 * time.Millisecond)
		}
		both, at = time.Since(began), n.Load()
		if at > 1800 {
			t.Errorf("I6: the message of two lanes is durable after %v, when %d messages were handled; want soon after the 1,000 before it", both, at)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// The snapshot gives the reason why the oldest unsettled message waits, wherever it is.
func TestSnapshotGivesTheReasonWhyTheOldestMessageWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 3)
		log.Append(0, keyed("retry"), keyed("ok"))
		log.Append(1, keyed("sink"), keyed("ok"))
		log.Append(2, keyed("a"), keyed("b"))
		out := sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "sink" {
				return errors.New("no leader")
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				switch string(m.Key) {
				case "retry":
					return keystrand.RetryAfter(time.Hour, nil)
				case "a", "b":
					<-ctx.Done()
					return ctx.Err()
				}
				emit(*m)
				return nil
			})).To(out).Limits(pipeline.Limits{Workers: 3, Writers: 64}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(10 * time.Minute)
		if o := run.part(t, 0).Oldest; o == nil || o.Key != "retry" || o.Why != pipeline.WhyRetry || time.Until(o.Until).Round(time.Second) != 50*time.Minute || o.Attempt != 1 {
			t.Errorf("oldest of 0: %+v, want a retry in 50 min", o)
		}
		if o := run.part(t, 1).Oldest; o == nil || o.Key != "sink" || o.Why != pipeline.WhySink || o.Offset != 0 || o.Age != 10*time.Minute {
			t.Errorf("oldest of 1: %+v, want the sinking one", o)
		}
		p := run.part(t, 2)
		if o := p.Oldest; o == nil || o.Key != "a" || o.Why != pipeline.WhyHandler || o.Age != 10*time.Minute {
			t.Errorf("oldest of 2: %+v, want the running one", o)
		}
		if p.Lag != 2 || p.End != 2 || p.Position != 2 {
			t.Errorf("lag %d, end %d, position %d", p.Lag, p.End, p.Position)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Takes snapshots while messages are retried, parked and cloned, for the race detector.
func TestSnapshotReadsNothingThatATurnWrites(t *testing.T) {
	log := memory.NewLog("posts", 1)
	log.Append(0, keysOf(3000, 50)...)
	log.Close()
	run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
		Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			if m.Attempt < 3 {
				return keystrand.RetryAfter(time.Microsecond, nil)
			}
			return errBoom
		})).OnFailure(pipeline.DeadLetter(sinkmemory.New())))
	for {
		select {
		case <-run.over:
			if run.err != nil {
				t.Error(run.err)
			}
			return
		default:
			conserve(t, run.Snapshot())
		}
	}
}
