// Virtual time: the bubbles are in each test and in batches.run.

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
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// A breaker postpones every message of a ten-minute outage.
func TestPostponedMessagesUseUpNoRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(100, 10)...)
		began, dlq := time.Now(), sinkmemory.New()
		var attempts []int32
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Use(middleware.Retry(middleware.RetryPolicy{MaxAttempts: 5})).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if time.Since(began) < 10*time.Minute {
					return keystrand.Later(time.Second, "breaker is open")
				}
				attempts = append(attempts, m.Attempt)
				return nil
			}).OnFailure(pipeline.DeadLetter(dlq)).Limits(pipeline.Limits{Workers: 1}))
		time.Sleep(9*time.Minute + 500*time.Millisecond)
		if p := run.part(t, 0); p.Parked != 100 || p.Settled != 0 {
			t.Errorf("%d messages are parked and %d settled, want all parked", p.Parked, p.Settled)
		}
		time.Sleep(time.Hour)
		s := run.Snapshot()
		if s.Settled != 100 || s.Failed != 0 || s.Retried != 0 || s.Postponed != 10*600 || len(dlq.Messages()) != 0 {
			t.Errorf("settled %d, failed %d, retried %d, postponed %d, %d dead letters: want 100, 0, 0, 6000 and none",
				s.Settled, s.Failed, s.Retried, s.Postponed, len(dlq.Messages()))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(attempts, func(a int32) bool { return a != 1 }); i >= 0 {
			t.Errorf("message %d was handled as attempt %d, want 1", i, attempts[i])
		}
	})
}

// An attempt that failed counts, whatever was postponed before and after it.
func TestPostponingTakesBackItsOwnAttemptOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		later, failed := keystrand.Later(time.Second, "limit"), errors.New("connection refused")
		answers := []error{later, failed, later, later, failed, nil}
		b.run(t, 1, func([]*keystrand.Message) error { return answers[len(b.calls)-1] },
			middleware.Retry(middleware.RetryPolicy{DisableJitter: true, MaxAttempts: 3}))
		b.check(t, []string{
			"0s: 0 to 0, attempt 1",
			"1s: 0 to 0, attempt 1",
			"1.1s: 0 to 0, attempt 2",
			"2.1s: 0 to 0, attempt 2",
			"3.1s: 0 to 0, attempt 2",
			"3.3s: 0 to 0, attempt 3",
		}, nil)
	})
}

func TestPostponedBatchStaysTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b batches
		b.run(t, 3, func([]*keystrand.Message) error {
			switch len(b.calls) {
			case 1:
				b.log.Append(0, keyed("k0"))
				return keystrand.Later(time.Second, "limit")
			case 2:
				return &keystrand.BatchError{Settled: 1, Err: keystrand.Later(time.Second, "limit")}
			}
			return nil
		})
		b.check(t, []string{
			"0s: 0 to 2, attempt 1",
			"1s: 0 to 2, attempt 1",
			"2s: 1 to 3, attempt 1",
		}, nil)
	})
}

// A key whose policy blocks it for a while stays blocked only by failures.
func TestPostponedAfterABlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"))
		began := time.Now()
		var calls []string
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				calls = append(calls, fmt.Sprintf("%v: attempt %d", time.Since(began), m.Attempt))
				switch len(calls) {
				case 1:
					return errBoom
				case 2:
					return keystrand.Later(time.Second, "limit")
				}
				return nil
			}).OnFailure(pipeline.BlockFor(time.Minute, time.Hour)))
		time.Sleep(time.Hour)
		if s := run.Snapshot(); s.Failed != 1 || s.Postponed != 1 || s.Settled != 1 {
			t.Errorf("failed %d, postponed %d, settled %d: want 1 each", s.Failed, s.Postponed, s.Settled)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"0s: attempt 1", "1m0s: attempt 1", "1m1s: attempt 1"}; !slices.Equal(calls, want) {
			t.Errorf("calls: %q, want %q", calls, want)
		}
	})
}

func TestLatestSkipsOlderMessagesOfABusyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(100, 1)...)
		var got []string
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			HandleBatch(keystrand.Latest(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				got = append(got, fmt.Sprintf("%d, attempt %d", m.Offset, m.Attempt))
				if len(got) == 1 {
					return keystrand.RetryAfter(time.Second, errBoom)
				}
				return nil
			}))).Limits(pipeline.Limits{MaxBatch: 100}))
		time.Sleep(time.Hour)
		if s := run.Snapshot(); s.Settled != 100 {
			t.Errorf("settled %d of 100", s.Settled)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"99, attempt 1", "99, attempt 2"}; !slices.Equal(got, want) {
			t.Errorf("handled %q, want %q", got, want)
		}
	})
}

func TestLatestWithoutAHandlerIsRefused(t *testing.T) {
	_, err := pipeline.From(memory.NewSource(memory.Config{}, memory.NewLog("posts", 1))).HandleBatch(keystrand.Latest(nil)).Build()
	if err == nil {
		t.Error("Build accepted a nil handler")
	}
}
