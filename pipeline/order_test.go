package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// random returns a generator and prints its seed, so that a failure can be replayed.
func random(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // tests need reproducible numbers
}

// fill appends n messages of random keys to each partition and records them in the ledger.
func fill(l *ledger, log *memory.Log, partitions int32, n, keys int, r *rand.Rand) {
	for p := range partitions {
		for range n {
			key := fmt.Sprintf("k%d", r.IntN(keys))
			l.put(p, log.Append(p, keyed(key))-1, key)
			if r.IntN(10) == 0 {
				log.Skip(p, r.Int64N(5))
			}
		}
	}
}

// dice is a random generator that is safe for concurrent use.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) roll(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

// I1, I2: a later message of a key waits until the earlier one is settled, whatever the handler returns.
func TestOrderOfAKeyHoldsThroughRetriesPanicsAndPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := random(t, 31)
		l := newLedger(t)
		log := memory.NewLog("posts", 3)
		fill(l, log, 3, 400, 11, r)
		log.Close()
		d := &dice{r: r}
		dlq := sinkmemory.New()
		h := l.handler(func(_ context.Context, m *keystrand.Message) error {
			time.Sleep(time.Duration(d.roll(50)) * time.Millisecond)
			switch d.roll(12) {
			case 0:
				return keystrand.RetryAfter(time.Duration(d.roll(3000))*time.Millisecond, errors.New("busy"))
			case 1:
				return errors.New("failed")
			case 2:
				return keystrand.Permanent(errors.New("broken"))
			case 3:
				panic("boom")
			case 4:
				l.settle(m.Partition, m.Offset)
				return keystrand.Skip("not ours")
			}
			return nil
		})
		policy := func(f pipeline.Failure) pipeline.Action {
			l.settle(f.Message.Partition, f.Message.Offset)
			if f.Message.Offset%2 == 0 {
				return pipeline.Skip(f)
			}
			return pipeline.DeadLetter(dlq)(f)
		}
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).
			Use(middleware.Retry(middleware.RetryPolicy{MaxAttempts: 3})).
			Handle(h).OnFailure(policy).Limits(pipeline.Limits{Workers: 16}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		l.checkAllSettled()
		if n := run.Snapshot(); n.Settled != 1200 || n.DeadLettered == 0 || n.Retried == 0 {
			t.Errorf("settled %d, dead-lettered %d, retried %d: want 1200 and some", n.Settled, n.DeadLettered, n.Retried)
		}
	})
}

// I1: after a batch fails without a culprit, its messages run one by one up to its old end. Only the message that fails
// alone counts an attempt and reaches the policy.
func TestFailedBatchWithoutCulpritRunsSinglyUpToItsOldEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(20, 1)...)
		type call struct{ first, last, attempt int64 }
		var calls []call
		var failures []int64
		h := keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
			if calls = append(calls, call{ms[0].Offset, ms[len(ms)-1].Offset, int64(ms[0].Attempt)}); len(calls) == 100 {
				t.Errorf("I1: the batch is retried instead of run message by message: %+v", calls[90:])
			}
			if len(calls) >= 100 {
				return nil
			}
			if ms[0].Offset == 0 && len(ms) == 1 {
				time.Sleep(time.Second) // the other messages arrive
				return nil
			}
			for _, m := range ms {
				if m.Attempt != 1 {
					t.Errorf("I1: message %d is on attempt %d, want 1: it has not failed", m.Offset, m.Attempt)
				}
				if m.Offset == 3 {
					return errors.New("one of them is bad")
				}
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).HandleBatch(h).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				failures = append(failures, f.Message.Offset)
				return pipeline.Skip(f)
			}).Limits(pipeline.Limits{MaxBatch: 5}))
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		// The batch with message 3 fails, then its five messages run alone, then batches again.
		for i := range calls {
			if calls[i].first <= 3 && calls[i].last >= 3 && calls[i].first != calls[i].last {
				from, to := calls[i].first, calls[i].last
				for o := from; o <= to; o++ {
					i++
					if calls[i].first != o || calls[i].last != o {
						t.Fatalf("I1: calls after the failed batch %d to %d: %+v", from, to, calls[i:])
					}
				}
				if next := calls[i+1]; next.first != to+1 || next.last == next.first {
					t.Fatalf("call after the old end: %+v, want a batch", next)
				}
				break
			}
		}
		if len(failures) != 1 || failures[0] != 3 {
			t.Errorf("the policy was called for %v, want only 3", failures)
		}
		if s := run.Snapshot(); s.Settled != 20 || s.Skipped != 1 {
			t.Errorf("settled %d, skipped %d, want 20 and 1", s.Settled, s.Skipped)
		}
	})
}

// I1: a BatchError settles a prefix and names the culprit; only the culprit counts an attempt.
func TestBatchErrorSettlesThePrefixAndCountsOnlyTheCulprit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 1)...)
		log.Close()
		attempts := map[int64][]int{}
		settledOnce := map[int64]int{}
		h := keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
			for i, m := range ms {
				attempts[m.Offset] = append(attempts[m.Offset], int(m.Attempt))
				if m.Offset == 4 && m.Attempt < 3 {
					for _, s := range ms[:i] {
						settledOnce[s.Offset]++
					}
					return &keystrand.BatchError{Settled: i, Err: keystrand.RetryAfter(time.Minute, errors.New("busy"))}
				}
			}
			for _, s := range ms {
				settledOnce[s.Offset]++
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).HandleBatch(h))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		for o := range int64(10) {
			if settledOnce[o] != 1 {
				t.Errorf("I1: message %d was settled %d times", o, settledOnce[o])
			}
			last := attempts[o][len(attempts[o])-1]
			if want := map[bool]int{true: 3, false: 1}[o == 4]; last != want {
				t.Errorf("message %d had attempts %v, want the last to be %d", o, attempts[o], want)
			}
		}
	})
}

// I1: the effects of a key become durable in the order of its messages, despite failed writes and lost replies. Replays
// after a crash begin at an unsettled message.
func TestEffectsOfAKeyBecomeDurableInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := random(t, 7)
		d := &dice{r: r}
		l := newLedger(t)
		log := memory.NewLog("posts", 2)
		fill(l, log, 2, 300, 7, r)
		log.Close()
		out := sinkmemory.New()
		out.SetFault(func(ctx context.Context, _ *keystrand.Message) error {
			select {
			case <-time.After(time.Duration(d.roll(5)) * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			switch d.roll(20) {
			case 0:
				return errors.New("no leader")
			case 1:
				return sinkmemory.ErrReplyLost
			}
			return nil
		})
		for crashes := 0; ; crashes++ {
			mem := memory.NewSource(memory.Config{}, log)
			gone := make(chan struct{})
			run := start(t, pipeline.From(watch(t, mem, nil)).
				Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) (err error) {
					l.begin(m)
					defer func() { l.end(m, err) }()
					time.Sleep(time.Duration(d.roll(20)) * time.Millisecond)
					if d.roll(10) == 0 {
						emit(keystrand.Message{Key: m.Key, Value: []byte("of a call that fails"), Partition: m.Partition, Offset: -1})
						return keystrand.RetryAfter(time.Second, nil)
					}
					for i := range m.Offset % 3 {
						emit(keystrand.Message{Key: m.Key, Value: []byte{byte(i)}, Partition: m.Partition, Offset: m.Offset})
					}
					return nil
				})).To(out).Limits(pipeline.Limits{Workers: 8, Writers: 3}).Timing(pipeline.Timing{CommitInterval: 300 * time.Millisecond}))
			if crashes < 5 {
				go func() {
					select {
					case <-time.After(time.Duration(200+d.roll(600)) * time.Millisecond):
						mem.Crash()
					case <-gone:
					}
				}()
			}
			err := run.wait()
			close(gone)
			if err == nil {
				break
			}
			if !errors.Is(err, memory.ErrCrashed) {
				t.Fatal(err)
			}
		}
		checkEffects(t, l, out.Messages())
	})
}

// checkEffects checks the durable outputs of each lane: without repeats they ascend, each message begins after the
// outputs of all earlier ones, and none is missing.
func checkEffects(t *testing.T, l *ledger, stored []keystrand.Message) {
	t.Helper()
	seen := map[place]map[byte]bool{}
	high := map[name]place{}
	for i := range stored {
		m := &stored[i]
		if m.Offset < 0 {
			t.Fatalf("I1: the sink has the output of a failed call")
		}
		at := place{m.Partition, m.Offset}
		n := name{m.Partition, string(m.Key)}
		if seen[at] == nil {
			seen[at] = map[byte]bool{}
		}
		if !seen[at][m.Value[0]] {
			// First occurrence: all outputs of earlier messages of the lane, and earlier outputs of this message, must be
			// durable.
			if h, ok := high[n]; ok && h.at > m.Offset {
				t.Errorf("I1: output of %d of key %s is durable for the first time after that of %d", m.Offset, m.Key, h.at)
			}
			for b := range m.Value[0] {
				if !seen[at][b] {
					t.Errorf("I1: output %d of message %d is durable before output %d", m.Value[0], m.Offset, b)
				}
			}
			for _, o := range l.offsets[n] {
				if o < m.Offset && len(seen[place{m.Partition, o}]) < int(o%3) {
					t.Errorf("I1: output of %d of key %s is durable before all of %d", m.Offset, m.Key, o)
				}
			}
			high[n] = at
		}
		seen[at][m.Value[0]] = true
	}
	for at := range l.lanes {
		if len(seen[at]) != int(at.at%3) {
			t.Errorf("I3: message %d/%d has %d outputs durable, want %d", at.partition, at.at, len(seen[at]), at.at%3)
		}
	}
}
