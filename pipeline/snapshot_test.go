package pipeline_test

import (
	"context"
	"errors"
	"slices"
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

// hold occupies its worker until the drain ends.
func hold(ctx context.Context, _ *keystrand.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

// holdKey occupies the worker of one key.
func holdKey(key string) func(context.Context, *keystrand.Message) error {
	return func(ctx context.Context, m *keystrand.Message) error {
		if string(m.Key) == key {
			return hold(ctx, m)
		}
		return nil
	}
}

// In each situation the snapshot names the bottleneck and the reason why each partition waits.
func TestSnapshotNamesTheBottleneck(t *testing.T) {
	noCommit := memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error { return errBoom }}
	for _, c := range []struct {
		name       string
		messages   []keystrand.Message
		cfg        memory.Config
		handle     func(context.Context, *keystrand.Message) error
		limits     pipeline.Limits
		bottleneck pipeline.Bottleneck
		waits      pipeline.Wait
		says       string
	}{
		{"all is settled", keysOf(100, 10), memory.Config{}, nothing, pipeline.Limits{}, pipeline.BottleneckSource, pipeline.WaitSource, "source"},
		{"all that there is runs", keysOf(10, 10), memory.Config{}, hold, pipeline.Limits{}, pipeline.BottleneckSource, pipeline.WaitSource, "source"},
		{"all that there is runs, with all workers", keysOf(10, 10), memory.Config{}, hold, pipeline.Limits{Workers: 10}, pipeline.BottleneckSource, pipeline.WaitSource, "source"},
		{"all workers are busy", keysOf(100, 50), memory.Config{}, hold, pipeline.Limits{Workers: 2, KeyShare: 1000}, pipeline.BottleneckWorkers, pipeline.WaitSource, "workers"},
		{"all workers are busy, so the budget is used up", keysOf(100, 50), memory.Config{}, hold, pipeline.Limits{Workers: 2, InFlight: 20, FetchMessages: 10, KeyShare: 1000}, pipeline.BottleneckWorkers, pipeline.WaitBudget, "workers"},
		{"all wait for one of their key", keysOf(100, 1), memory.Config{}, hold, pipeline.Limits{}, pipeline.BottleneckOrder, pipeline.WaitSource, "order"},
		{"all wait for a retry of their key", keysOf(100, 1), memory.Config{}, func(context.Context, *keystrand.Message) error {
			return keystrand.RetryAfter(time.Hour, nil)
		}, pipeline.Limits{}, pipeline.BottleneckOrder, pipeline.WaitSource, "order"},
		{"as many messages as may be in flight", keysOf(100, 100), memory.Config{}, hold, pipeline.Limits{InFlight: 20, FetchMessages: 10}, pipeline.BottleneckBudget, pipeline.WaitBudget, "budget"},
		{"as many bytes as may be in flight", keysOf(100, 100), memory.Config{}, hold, pipeline.Limits{InFlightBytes: 60, FetchMessages: 10}, pipeline.BottleneckBudget, pipeline.WaitBudget, "budget"},
		{"a key has its share", keysOf(100, 1), memory.Config{}, hold, pipeline.Limits{KeyShare: 10, FetchMessages: 10}, pipeline.BottleneckBudget, pipeline.WaitKey, "budget"},
		{"no commit is stored", keysOf(100, 100), noCommit, holdKey("k0"), pipeline.Limits{MaxReplay: 20, FetchMessages: 5}, pipeline.BottleneckCommit, pipeline.WaitReplay, "commit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, c.messages...)
				run := start(t, pipeline.From(memory.NewSource(c.cfg, log)).Handle(keystrand.HandlerFunc(c.handle)).
					Limits(c.limits).Timing(pipeline.Timing{DrainTimeout: time.Second}))
				time.Sleep(time.Minute)
				s := run.Snapshot()
				if s.Bottleneck != c.bottleneck || s.Bottleneck.String() != c.says {
					t.Errorf("bottleneck %q, want %q", s.Bottleneck, c.says)
				}
				if p := run.part(t, 0); p.Waits != c.waits {
					t.Errorf("fetching waits for %v, want %v: %+v", p.Waits, c.waits, p)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A snapshot gives the reason why a key's first message waits. The key is "b". Where a busy worker is needed, "a",
// which has more messages, occupies it.
func TestSnapshotGivesTheReasonWhyAKeyWaits(t *testing.T) {
	away := sinkmemory.New()
	away.SetFault(func(context.Context, *keystrand.Message) error { return errors.New("no leader") })
	handle := func(f func(context.Context, *keystrand.Message) error, more ...pipeline.Policy) func(*pipeline.Builder) {
		return func(b *pipeline.Builder) {
			b.Handle(keystrand.HandlerFunc(f))
			for _, policy := range more {
				b.OnFailure(policy)
			}
		}
	}
	fails := func(err error) func(context.Context, *keystrand.Message) error {
		return func(context.Context, *keystrand.Message) error { return err }
	}
	two := []keystrand.Message{keyed("b"), keyed("b")}
	hot := func(p pipeline.PartitionSnapshot) []pipeline.KeySnapshot { return p.HotKeys }
	parked := func(p pipeline.PartitionSnapshot) []pipeline.KeySnapshot { return p.ParkedKeys }
	for _, c := range []struct {
		says     string
		messages []keystrand.Message
		build    func(*pipeline.Builder)
		lose     bool                                                    // the partition is lost and accepted again after a second
		where    func(pipeline.PartitionSnapshot) []pipeline.KeySnapshot // the list that must contain the key
		retry    time.Duration                                           // time of the retry, since the start
		want     pipeline.KeySnapshot
	}{
		{
			"a worker",
			[]keystrand.Message{keyed("a"), keyed("a"), keyed("a"), keyed("b"), keyed("b")},
			handle(hold), false, hot, 0,
			pipeline.KeySnapshot{Why: pipeline.WhyWorker, Waiting: 2, Offset: 3},
		},
		{"its handler", two, handle(hold), false, hot, 0, pipeline.KeySnapshot{Why: pipeline.WhyHandler, Waiting: 2}},
		{
			"its next attempt", two, handle(fails(keystrand.RetryAfter(time.Hour, nil))), false, parked, time.Hour,
			pipeline.KeySnapshot{Why: pipeline.WhyRetry, Waiting: 2, Attempt: 1, Err: "retry after 1h0m0s"},
		},
		{
			"Resume", two, handle(fails(errBoom), pipeline.Block), false, parked, 0,
			pipeline.KeySnapshot{Why: pipeline.WhyBlocked, Waiting: 2, Attempt: 1, Err: errBoom.Error()},
		},
		{"the handler of an earlier epoch", two, handle(func(context.Context, *keystrand.Message) error {
			time.Sleep(time.Hour)
			return nil
		}), true, hot, 0, pipeline.KeySnapshot{Why: pipeline.WhyEarlier, Waiting: 2}},
		{"its sink", two, func(b *pipeline.Builder) {
			b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(*m)
				return nil
			})).To(away)
		}, false, nil, 0, pipeline.KeySnapshot{Why: pipeline.WhySink, Waiting: 1, Attempt: 1}},
		{
			"its dead letter", two, handle(fails(errBoom), pipeline.DeadLetter(away)), false, parked, 0,
			pipeline.KeySnapshot{Why: pipeline.WhyLetter, Waiting: 2, Attempt: 1},
		},
	} {
		t.Run(c.says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				log := memory.NewLog("posts", 1)
				log.Append(0, c.messages...)
				mem := memory.NewSource(memory.Config{}, log)
				b := pipeline.From(mem).Limits(pipeline.Limits{Workers: 1}).Timing(pipeline.Timing{DrainTimeout: time.Second})
				c.build(b)
				run := start(t, b)
				time.Sleep(time.Second)
				if c.lose {
					mem.Lose("posts", 0)
				}
				time.Sleep(time.Minute - time.Second)
				p := run.part(t, 0)
				c.want.Key, c.want.Age = "b", time.Minute // since its first fetch, even by an earlier epoch
				if c.retry > 0 {
					c.want.Until = began.Add(c.retry)
				}
				if c.where != nil && !slices.ContainsFunc(c.where(p), same(c.want)) {
					t.Errorf("keys = %+v, want %+v", c.where(p), c.want)
				}
				if (p.Oldest != nil && p.Oldest.Key == "b") != (c.want.Offset == 0) || c.want.Offset == 0 && !same(c.want)(*p.Oldest) {
					t.Errorf("oldest = %+v, want %+v", p.Oldest, c.want)
				}
				if c.want.Why.String() != c.says {
					t.Errorf("it waits for %q, want %q", c.want.Why, c.says)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func same(want pipeline.KeySnapshot) func(pipeline.KeySnapshot) bool {
	return func(k pipeline.KeySnapshot) bool {
		equal := k.Until.Equal(want.Until) && (k.Since.IsZero() == (k.Why == pipeline.WhySink)) // of an output that is not known
		k.Until, k.Since = want.Until, want.Since
		return equal && k == want
	}
}
