// Virtual time: the bubbles are in each test.

package pipeline_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/middleware/ratelimit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// atALimit handles messages at 100 a second and returns when each was handled, and the counters.
func atALimit(t *testing.T, messages, keys int, limits pipeline.Limits, handle func(*pipeline.Builder, func([]*keystrand.Message)) *pipeline.Builder) ([]time.Duration, pipeline.Snapshot) {
	t.Helper()
	log := memory.NewLog("orders", 1)
	began, l := time.Now(), newLedger(t)
	for i, m := range keysOf(messages, keys) {
		log.Append(0, m)
		l.put(0, int64(i), string(m.Key))
	}
	var at []time.Duration
	b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).
		Use(middleware.Retry(middleware.RetryPolicy{}), ratelimit.New(rate.NewLimiter(100, 10)), middleware.Timeout(time.Second))
	limits.Workers = 1 // at is appended to by one goroutine at a time
	run := start(t, handle(b, func(ms []*keystrand.Message) {
		for _, m := range ms {
			l.begin(m)
			l.end(m, nil)
			at = append(at, time.Since(began))
		}
	}).Limits(limits))
	time.Sleep(time.Hour)
	s := run.Snapshot()
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
	return at, s
}

func oneByOne(b *pipeline.Builder, f func([]*keystrand.Message)) *pipeline.Builder {
	return b.HandleFunc(func(_ context.Context, m *keystrand.Message) error {
		f([]*keystrand.Message{m})
		return nil
	})
}

func batch(b *pipeline.Builder, f func([]*keystrand.Message)) *pipeline.Builder {
	return b.HandleBatch(keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
		f(ms)
		return nil
	}))
}

// Lanes that wait for a limiter come again each at its time, not all of them for each token.
func TestRateLimitPostponesEachMessageAFewTimes(t *testing.T) {
	for name, x := range map[string]struct {
		messages, keys, inFlight int
		postponed                int64 // at most
	}{
		"few lanes":                       {2_000, 20, 0, 4_000},
		"lanes for a second":              {2_000, 100, 0, 4_000},
		"lanes for ten seconds":           {2_500, 1_000, 0, 7_500},
		"lanes for fifty seconds":         {5_000, 5_000, 5_000, 30_000},
		"every message in a lane, budget": {5_000, 5_000, 2_000, 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at, s := atALimit(t, x.messages, x.keys, pipeline.Limits{InFlight: x.inFlight}, oneByOne)
				if len(at) != x.messages || s.Settled != int64(x.messages) || s.Failed != 0 || s.Retried != 0 {
					t.Fatalf("handled %d, settled %d, failed %d, retried %d: want all settled and none failed", len(at), s.Settled, s.Failed, s.Retried)
				}
				t.Logf("postponed %d for %d messages; the last was handled after %v", s.Postponed, x.messages, at[len(at)-1])
				if s.Postponed > x.postponed {
					t.Errorf("postponed %d times, want at most %d", s.Postponed, x.postponed)
				}
				atTheRate(t, at)
			})
		})
	}
}

func TestRateLimitCountsTheMessagesOfBatches(t *testing.T) {
	for _, maxBatch := range []int{1, 7, 64} {
		synctest.Test(t, func(t *testing.T) {
			at, s := atALimit(t, 2_000, 40, pipeline.Limits{MaxBatch: maxBatch}, batch)
			if len(at) != 2_000 || s.Settled != 2_000 {
				t.Fatalf("MaxBatch %d: handled %d, settled %d: want all of 2000", maxBatch, len(at), s.Settled)
			}
			slices.Sort(at)
			want := 20 * time.Second
			if last := at[len(at)-1]; last < want-time.Second || last > want+3*time.Second {
				t.Errorf("MaxBatch %d: the last message was handled after %v, want about %v", maxBatch, last, want)
			}
		})
	}
}

// The messages of a key come one at a time and twice as fast as the limit, so that its batch grows while it waits.
func TestRateLimitHandlesBatchesThatGrowWhileTheyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("orders", 1)
		var n atomic.Int64
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Use(ratelimit.New(rate.NewLimiter(10, 5))).
			HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error { n.Add(int64(len(ms))); return nil }))
		for range 100 {
			log.Append(0, keyed("a"))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if got, s := n.Load(), run.Snapshot(); got != 100 || s.Postponed > 100 {
			t.Errorf("15 s after the first of 100 messages at 10 a second: %d handled, postponed %d times", got, s.Postponed)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// atTheRate fails if more messages were handled than the limiter permits, or far fewer.
func atTheRate(t *testing.T, at []time.Duration) {
	t.Helper()
	for i, d := range at {
		if most := 10 + int(d.Seconds()*100+0.001); i+1 > most {
			t.Fatalf("%d messages were handled within %v, want at most %d", i+1, d, most)
		}
	}
	want := time.Duration(len(at)) * 10 * time.Millisecond
	if last := at[len(at)-1]; last > want+want/20+time.Second {
		t.Errorf("the last message was handled after %v, want %v", last, want)
	}
}
