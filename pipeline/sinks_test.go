package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

func echo(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
	emit(*m)
	return nil
}

// I6: a message of several lanes waits only for outputs of its own partition.
func TestMessageOfSeveralLanesWaitsForNoOtherPartition(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuse %v", refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("rows", 2)
				log.Append(1, keyed("slow"))
				out := sinkmemory.New()
				out.SetFault(func(ctx context.Context, m *keystrand.Message) error {
					if string(m.Key) != "slow" {
						return nil
					}
					if refuse {
						return errors.New("no leader")
					}
					select {
					case <-time.After(10 * time.Second):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Key(func(m *keystrand.Message) (keystrand.Key, error) {
						return keystrand.KeysOf(string(m.Key), "y"), nil
					}).
					Transform(keystrand.TransformerFunc(echo)).To(out).Limits(pipeline.Limits{Writers: 1}))
				time.Sleep(time.Second)
				log.Append(0, keyed("both"))
				time.Sleep(time.Minute)
				if n := len(out.Key("both")); n != 1 || run.part(t, 0).Frontier != 1 {
					t.Errorf("I6: after a minute the message is stored %d times, frontier %d", n, run.part(t, 0).Frontier)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// The first output of a message is refused for good; a second one of the same key is behind it.
func TestPolicyDecidesOnARefusedOutputWithAnotherBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"), keyed("a"))
		log.Close()
		out, dlq := sinkmemory.New(), sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Value) == "too large" {
				return keystrand.Permanent(errors.New("too large"))
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		run := startWith(t, ctx, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if m.Offset == 0 {
					emit(keystrand.Message{Key: m.Key, Value: []byte("too large")})
				}
				emit(keystrand.Message{Key: m.Key, Value: []byte("small")})
				return nil
			})).To(out).OnFailure(pipeline.DeadLetter(dlq)))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Error("the policy was not called within an hour")
		}
		if n := len(dlq.Messages()); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

// I6: one key's outputs fail again and again. Outputs of other partitions must still be written.
func TestFailingWritesOfAKeyDoNotBlockOtherPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		for range 5000 {
			log.Append(0, keyed("bad"))
		}
		out := sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "bad" {
				return errors.New("no leader")
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(echo)).To(out).Limits(pipeline.Limits{Writers: 1}))
		time.Sleep(time.Second)
		for i := range 10 {
			log.Append(1, keyed(fmt.Sprintf("good%d", i)))
		}
		time.Sleep(time.Minute)
		if n := len(out.Messages()); n != 10 {
			t.Errorf("I6: %d of 10 outputs stored after a minute", n)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// counted is a sink that counts its writers. It is not comparable.
type counted struct {
	sink.Sink
	opened *atomic.Int32
	_      []int
}

func (c counted) Open() (sink.Writer, error) {
	c.opened.Add(1)
	return c.Sink.Open()
}

// A policy may make and call another policy for each failure.
func TestDeadLettersOfOneSinkShareAWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(50, 50)...)
		log.Close()
		var opened atomic.Int32
		dlq, fixed := &counted{Sink: sinkmemory.New(), opened: &opened}, counted{Sink: sinkmemory.New(), opened: &opened}
		other := pipeline.DeadLetter(fixed)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return errors.New("no") })).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				if f.Message.Offset%2 == 0 {
					return other(f)
				}
				return pipeline.DeadLetter(dlq)(f)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if n := opened.Load(); n != 2 {
			t.Errorf("%d writers opened, want one for each of two sinks", n)
		}
	})
}

// I6: a message of several lanes whose Write fails occupies no worker, and no other key's outputs wait for it.
func TestFailingWritesOfAKeyDoNotDelayMessagesOfSeveralLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("rows", 2)
		out := sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "bad" {
				return errors.New("no leader")
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Key(func(m *keystrand.Message) (keystrand.Key, error) {
				return keystrand.KeysOf(string(m.Key), string(m.Key)+" too"), nil
			}).
			Transform(keystrand.TransformerFunc(echo)).To(out).Limits(pipeline.Limits{Workers: 16}))
		log.Append(0, keyed("bad"), keyed("bad"))
		time.Sleep(time.Minute)
		log.Append(0, keysOf(100, 100)...)
		log.Append(1, keysOf(100, 100)...)
		synctest.Wait()
		s := run.Snapshot()
		if n := len(out.Messages()); n != 200 || s.Written != 200 || s.Running != 0 {
			t.Errorf("I6: %d of 200 messages written at once, %d workers busy", n, s.Running)
		}
		if k := s.Partitions[0].Oldest; k == nil || !strings.HasPrefix(k.Key, "bad") || k.Why != pipeline.WhySink || k.Waiting != 2 || k.Age != time.Minute {
			t.Errorf("oldest %+v, want the bad key, waiting for its sink for a minute", k)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
