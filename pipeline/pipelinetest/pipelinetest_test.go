package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/pipeline/pipelinetest"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
)

// Virtual time: Run is a bubble.

var errBusy = errors.New("busy")

func msg(key string) keystrand.Message {
	return keystrand.Message{Key: []byte(key), Value: []byte(key)}
}

func TestRetryAfterAnHourTakesNoTimeAndIsExact(t *testing.T) {
	r := pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.Use(middleware.Retry(middleware.RetryPolicy{Initial: time.Hour, DisableJitter: true})).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) == "a" && m.Attempt < 3 {
					return errBusy
				}
				return nil
			})
	}, msg("a"), msg("b"))
	if r.Err != nil || r.Committed != 2 || r.Snapshot.Retried != 2 {
		t.Fatalf("err %v, committed %d, retried %d", r.Err, r.Committed, r.Snapshot.Retried)
	}
	var starts []time.Duration
	for _, c := range r.Calls {
		if c.Key == "a" {
			starts = append(starts, c.Start)
			if c.Attempt != len(starts) || c.Messages != 1 || c.Offset != 0 {
				t.Errorf("call %+v", c)
			}
		}
	}
	if want := []time.Duration{0, time.Hour, 2 * time.Hour}; !slices.Equal(starts, want) {
		t.Errorf("calls of a at %v, want %v", starts, want)
	}
	if o, _ := keystrand.OutcomeOf(r.Calls[0].Err); o != keystrand.OutcomeRetry {
		t.Errorf("the first call returned %v", r.Calls[0].Err)
	}
}

func TestStopPolicyIsInTheResult(t *testing.T) {
	r := pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			time.Sleep(time.Second)
			if m.Offset == 1 {
				return errBusy
			}
			return nil
		})
	}, msg("a"), msg("b"), msg("a"))
	f, ok := errors.AsType[*pipeline.FailureError](r.Err)
	if !ok || f.Offset != 1 || r.Committed != 1 {
		t.Errorf("err %v, committed %d", r.Err, r.Committed)
	}
	for _, c := range r.Calls {
		if c.End-c.Start != time.Second {
			t.Errorf("call %+v took %v", c, c.End-c.Start)
		}
	}
}

func TestBatchesSinksAndExitsAreRecorded(t *testing.T) {
	out := sinkmemory.New()
	r := pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			emit(*m)
			return nil
		}).To(out)
	}, msg("a"), msg("a"))
	if r.Err != nil || len(out.Messages()) != 2 || r.Snapshot.Written != 2 {
		t.Errorf("err %v, %d stored", r.Err, len(out.Messages()))
	}
	r = pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.HandleBatchFunc(func(context.Context, []*keystrand.Message) error { return nil })
	}, msg("a"), msg("a"), msg("a"))
	n := 0
	for _, c := range r.Calls {
		n += c.Messages
	}
	if r.Err != nil || n != 3 {
		t.Errorf("err %v, %d messages in %d calls", r.Err, n, len(r.Calls))
	}
	r = pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.OnFailure(pipeline.Skip).HandleFunc(func(context.Context, *keystrand.Message) error {
			runtime.Goexit()
			return nil
		})
	}, msg("a"))
	if r.Err != nil || len(r.Calls) != 1 || r.Calls[0].Err == nil || r.Committed != 1 {
		t.Errorf("err %v, calls %+v", r.Err, r.Calls)
	}
	if r := pipelinetest.Run(t, func(b *pipeline.Builder) {
		b.HandleFunc(func(context.Context, *keystrand.Message) error { return nil })
	}); r.Err != nil || len(r.Calls) != 0 {
		t.Errorf("no messages: %+v", r)
	}
}

// The messages given are not changed and may be given again.
func TestRunLeavesTheMessagesAlone(t *testing.T) {
	ms := []keystrand.Message{msg("a"), msg("b")}
	for range 2 {
		pipelinetest.Run(t, func(b *pipeline.Builder) {
			b.HandleFunc(func(_ context.Context, m *keystrand.Message) error { m.Value = nil; return nil })
		}, ms...)
	}
	if string(ms[0].Value) != "a" || ms[1].Offset != 0 || ms[1].Stream != "" {
		t.Errorf("messages %+v", ms)
	}
}

// A test of a stage. In a test function use its t.
func Example() {
	stage := func(b *pipeline.Builder) {
		b.Use(middleware.Retry(middleware.RetryPolicy{Initial: time.Hour, DisableJitter: true})).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Attempt == 1 && m.Offset == 0 {
					return errBusy
				}
				return nil
			})
	}
	var t testing.T // the test function's t
	r := pipelinetest.Run(&t, stage, msg("alice"), msg("bob"), msg("alice"))
	for _, c := range r.Calls {
		fmt.Printf("%-5s offset %d attempt %d after %v\n", c.Key, c.Offset, c.Attempt, c.Start)
	}
	fmt.Println("settled below", r.Committed)
	// Output:
	// alice offset 0 attempt 1 after 0s
	// bob   offset 1 attempt 1 after 0s
	// alice offset 0 attempt 2 after 1h0m0s
	// alice offset 2 attempt 1 after 1h0m0s
	// settled below 3
}
