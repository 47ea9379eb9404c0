package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// batches records the calls of a batch handler for the messages of one key.
type batches struct {
	log      *memory.Log
	began    time.Time
	calls    []string // "at: first to last, attempts"
	failures []string // messages that the failure policy was called for
}

// run handles n messages, and those that f appends to the log, with f.
func (b *batches) run(t *testing.T, n int, f func(ms []*keystrand.Message) error, ms ...keystrand.Middleware) {
	t.Helper()
	b.log = memory.NewLog("posts", 1)
	b.log.Append(0, keysOf(n, 1)...)
	b.began = time.Now()
	run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, b.log), nil)).Use(ms...).
		HandleBatch(keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
			first, last := ms[0], ms[len(ms)-1]
			attempts := fmt.Sprint("attempt ", first.Attempt)
			if last.Attempt != first.Attempt {
				attempts += fmt.Sprint(" and ", last.Attempt)
			}
			b.calls = append(b.calls, fmt.Sprintf("%v: %d to %d, %s", time.Since(b.began), first.Offset, last.Offset, attempts))
			if len(b.calls) > 100 { // an endless loop in virtual time
				return nil
			}
			return f(ms)
		})).
		OnFailure(func(f pipeline.Failure) pipeline.Action {
			b.failures = append(b.failures, fmt.Sprintf("%v: %d, attempt %d", time.Since(b.began), f.Message.Offset, f.Message.Attempt))
			return pipeline.Skip(f)
		}))
	time.Sleep(time.Hour)
	if _, end := b.log.Bounds(0); run.part(t, 0).Frontier != end {
		t.Errorf("frontier %d, want all %d settled", run.part(t, 0).Frontier, end)
	}
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
}

func (b *batches) check(t *testing.T, calls, failures []string) {
	t.Helper()
	if !slices.Equal(b.calls, calls) {
		t.Errorf("calls:\n%q, want\n%q", b.calls, calls)
	}
	if !slices.Equal(b.failures, failures) {
		t.Errorf("the policy was called for %q, want %q", b.failures, failures)
	}
}

var exactly = middleware.RetryPolicy{DisableJitter: true}

// A database is unreachable for 3 s.
func TestWholeBatchIsRetriedWhileItsDatabaseIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		b.run(t, 50, func([]*keystrand.Message) error {
			if time.Since(b.began) < 3*time.Second {
				b.log.Append(0, keyed("k0")) // more messages arrive meanwhile
				return errors.New("connection refused")
			}
			return nil
		}, middleware.Retry(exactly))
		b.check(t, []string{
			"0s: 0 to 49, attempt 1",
			"100ms: 0 to 49, attempt 2",
			"300ms: 0 to 49, attempt 3",
			"700ms: 0 to 49, attempt 4",
			"1.5s: 0 to 49, attempt 5",
			"3.1s: 0 to 49, attempt 6",
			"3.1s: 50 to 54, attempt 1",
		}, nil)
	})
}

// I1: the policy is called only for the message that fails when run alone.
func TestBatchRunsSinglyWithAttemptsFromOneAfterItsLastRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		b.run(t, 5, func(ms []*keystrand.Message) error {
			if len(b.calls) == 1 {
				b.log.Append(0, keyed("k0"), keyed("k0"))
			}
			if slices.ContainsFunc(ms, func(m *keystrand.Message) bool { return m.Offset == 2 }) {
				return errors.New("one of them is bad")
			}
			return nil
		}, middleware.Retry(middleware.RetryPolicy{DisableJitter: true, MaxAttempts: 3}))
		b.check(t, []string{
			"0s: 0 to 4, attempt 1",
			"100ms: 0 to 4, attempt 2",
			"300ms: 0 to 4, attempt 3",
			"300ms: 0 to 0, attempt 1",
			"300ms: 1 to 1, attempt 1",
			"300ms: 2 to 2, attempt 1",
			"400ms: 2 to 2, attempt 2",
			"600ms: 2 to 2, attempt 3",
			"600ms: 3 to 3, attempt 1",
			"600ms: 4 to 4, attempt 1",
			"600ms: 5 to 6, attempt 1",
		}, []string{"600ms: 2, attempt 3"})
	})
}

func TestBatchRunsSinglyAtOnceWhenItFailsWithoutRetry(t *testing.T) {
	for name, err := range map[string]error{"plain": errBoom, "permanent": keystrand.Permanent(errBoom)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b batches
				b.run(t, 3, func(ms []*keystrand.Message) error {
					if ms[len(ms)-1].Offset == 2 {
						return err
					}
					return nil
				})
				b.check(t, []string{
					"0s: 0 to 2, attempt 1",
					"0s: 0 to 0, attempt 1",
					"0s: 1 to 1, attempt 1",
					"0s: 2 to 2, attempt 1",
				}, []string{"0s: 2, attempt 1"})
			})
		})
	}
}

// Only the attempts of the failed message count, even if the retried batch has more messages.
func TestBatchErrorWithRetryAfterRetriesFromItsCulprit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		b.run(t, 6, func(ms []*keystrand.Message) error {
			at := slices.IndexFunc(ms, func(m *keystrand.Message) bool { return m.Offset == 3 && m.Attempt < 3 })
			if at < 0 {
				return nil
			}
			b.log.Append(0, keyed("k0"))
			return &keystrand.BatchError{Settled: at, Err: keystrand.RetryAfter(time.Second, errors.New("row is locked"))}
		}, middleware.Retry(exactly))
		b.check(t, []string{
			"0s: 0 to 5, attempt 1",
			"1s: 3 to 6, attempt 2 and 1",
			"2s: 3 to 7, attempt 3 and 1",
		}, nil)
	})
}

// The largest attempt in a batch counts: an earlier attempt of one message shortens the batch's retries.
func TestBatchRetriesEndByTheLargestAttemptOfItsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		b.run(t, 3, func(ms []*keystrand.Message) error {
			switch {
			case len(b.calls) <= 2: // two attempts of message 1
				return &keystrand.BatchError{Settled: len(ms) - 2, Err: errors.New("row is locked")}
			case len(ms) > 1:
				return errors.New("connection refused")
			}
			return nil
		}, middleware.Retry(middleware.RetryPolicy{DisableJitter: true, MaxAttempts: 3}))
		b.check(t, []string{
			"0s: 0 to 2, attempt 1",
			"100ms: 1 to 2, attempt 2 and 1",
			"300ms: 1 to 2, attempt 3 and 1",
			"300ms: 1 to 1, attempt 1",
			"300ms: 2 to 2, attempt 1",
		}, nil)
	})
}

func TestLogOfASkippedBatchNamesItsRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(3, 1)...)
		var out buffer
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Logger(out.logger()).
			HandleBatchFunc(func(context.Context, []*keystrand.Message) error { return keystrand.Skip("old") }))
		synctest.Wait()
		if !out.has("messages skipped") || !out.has("first_offset=0 last_offset=2 key=k0 attempt=1") {
			t.Errorf("the log does not name the three messages:\n%s", out.b.String())
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
