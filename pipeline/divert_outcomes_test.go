package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// behaviour is how a handler treats message 1 of a key, and what the policy decides about it.
type behaviour struct {
	name   string
	handle func(ctx context.Context, call int) error            // of a handler; call counts from 1
	batch  func(call int, ms []*keystrand.Message) error        // of a batch handler
	policy func(dlq *sinkmemory.Sink) pipeline.Policy           // nil: Stop
	retry  bool                                                 // with the middleware Retry
	during func(run *running, src *memory.Source, again func()) // a second after the handler has begun; again repairs it
}

func skips(*sinkmemory.Sink) pipeline.Policy  { return pipeline.Skip }
func blocks(*sinkmemory.Sink) pipeline.Policy { return pipeline.Block }

func resumes(run *running, _ *memory.Source, again func()) {
	again()
	run.Resume("posts", 0, "k")
}

// atMost returns err for the first calls.
func atMost(n int, err error) func(context.Context, int) error {
	return func(_ context.Context, call int) error {
		if call <= n {
			return err
		}
		return nil
	}
}

var behaviours = []behaviour{
	{name: "success", handle: atMost(0, nil)},
	{name: "skip", handle: atMost(9, keystrand.Skip("old"))},
	{name: "retry after", handle: atMost(3, keystrand.RetryAfter(100*time.Millisecond, errBoom))},
	{name: "later", handle: atMost(3, keystrand.Later(100*time.Millisecond, "limit"))},
	{name: "retry after, later and failure", retry: true, policy: skips, handle: func(_ context.Context, call int) error {
		return []error{keystrand.RetryAfter(time.Second, errBoom), keystrand.Later(time.Second, "limit"), errBoom}[(call-1)%3]
	}},
	{name: "permanent, skipped", retry: true, handle: atMost(9, keystrand.Permanent(errBoom)), policy: skips},
	{name: "failure, skipped", handle: atMost(9, errBoom), policy: skips},
	{name: "failure after retries, skipped", retry: true, handle: atMost(9, errBoom), policy: skips},
	{name: "failure, dead-lettered", retry: true, handle: atMost(9, errBoom), policy: func(dlq *sinkmemory.Sink) pipeline.Policy { return pipeline.DeadLetter(dlq) }},
	{name: "failure, blocked and resumed", retry: true, handle: atMost(99, errBoom), policy: blocks, during: resumes},
	{name: "failure, blocked for pauses", retry: true, handle: atMost(7, errBoom), policy: func(*sinkmemory.Sink) pipeline.Policy {
		return pipeline.BlockFor(time.Second, 4*time.Second)
	}},
	{name: "failure, stopped", retry: true, handle: atMost(99, errBoom)},
	{name: "panic, skipped", handle: func(context.Context, int) error { panic("boom") }, policy: skips},
	{name: "Goexit, skipped", handle: func(context.Context, int) error { runtime.Goexit(); return nil }, policy: skips},
	{name: "Goexit after retries, blocked", retry: true, policy: blocks, during: resumes, handle: func(context.Context, int) error { runtime.Goexit(); return nil }},
	{name: "ctx ignored, success", during: revokes, handle: func(context.Context, int) error {
		time.Sleep(5 * time.Second)
		return nil
	}},
	{name: "ctx ignored, failure", during: revokes, policy: skips, handle: func(_ context.Context, call int) error {
		if call == 1 {
			time.Sleep(5 * time.Second)
			return errBoom
		}
		return nil
	}},
	{name: "batch", batch: func(int, []*keystrand.Message) error { return nil }},
	{name: "batch skipped", batch: func(int, []*keystrand.Message) error { return keystrand.Skip("old") }},
	{name: "batch that names its failure", retry: true, policy: skips, batch: func(_ int, ms []*keystrand.Message) error {
		for i, m := range ms {
			if m.Offset == 2 {
				return &keystrand.BatchError{Settled: i, Err: errBoom}
			}
		}
		return nil
	}},
	{name: "batch that fails, then one by one", policy: skips, batch: func(_ int, ms []*keystrand.Message) error {
		if ms[len(ms)-1].Offset >= 2 && ms[0].Offset <= 2 {
			return errBoom
		}
		return nil
	}},
	{name: "batch that is retried whole, then one by one", retry: true, policy: skips, batch: func(call int, ms []*keystrand.Message) error {
		if call < 5 || ms[0].Offset == 1 {
			return errBoom
		}
		return nil
	}},
	{name: "batch postponed", batch: func(call int, _ []*keystrand.Message) error {
		if call < 4 {
			return keystrand.Later(time.Second, "limit")
		}
		return nil
	}},
	{name: "batch with a blocked message", policy: blocks, during: resumes, batch: func(call int, _ []*keystrand.Message) error {
		if call < 2 {
			return &keystrand.BatchError{Settled: 1, Err: errBoom}
		}
		return nil
	}},
	{name: "batch that panics", policy: skips, batch: func(_ int, ms []*keystrand.Message) error {
		if ms[len(ms)-1].Offset > 0 {
			panic("boom")
		}
		return nil
	}},
	{name: "batch that stops", batch: func(_ int, ms []*keystrand.Message) error {
		if ms[len(ms)-1].Offset > 0 {
			return errBoom
		}
		return nil
	}},
}

func revokes(_ *running, src *memory.Source, _ func()) { src.Revoke("posts", 0) }

// A message from the store is handled as one in a lane: the same calls at the same times, with the same attempts, and the same
// counts, letters and errors.
func TestMessageFromTheStoreIsHandledAsOneInALane(t *testing.T) { // seed 34
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			var lane, stored string
			synctest.Test(t, func(t *testing.T) { lane = b.play(t, false) })
			synctest.Test(t, func(t *testing.T) { stored = b.play(t, true) })
			if lane != stored {
				t.Errorf("from the store:\n%s\nin a lane:\n%s", stored, lane)
			}
		})
	}
}

// play handles message 0, which fails until it is resumed, and then messages 1 to 4, which have waited for it in their lane, or
// in the store. It returns what happened since it was resumed.
func (b behaviour) play(t *testing.T, stored bool) string {
	t.Helper()
	var (
		mu       sync.Mutex
		trace    strings.Builder
		resumed  time.Time
		open     bool
		repaired bool
		calls    int
	)
	told := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if open {
			fmt.Fprintf(&trace, "%v: %s\n", time.Since(resumed), fmt.Sprintf(format, args...))
		}
	}
	called := func(offset int64) (call int, fixed, closed bool) {
		mu.Lock()
		defer mu.Unlock()
		if open && (offset == 1 || b.batch != nil) {
			calls++
		}
		return calls, repaired, !open
	}
	handle := func(ctx context.Context, m *keystrand.Message) error {
		told("message %d of epoch %d, attempt %d", m.Offset, m.Epoch, m.Attempt)
		call, fixed, closed := called(m.Offset)
		switch {
		case m.Offset == 0 && closed:
			return keystrand.Permanent(errBoom)
		case m.Offset == 1 && !fixed:
			return b.handle(ctx, call)
		}
		return nil
	}
	handleBatch := func(_ context.Context, ms []*keystrand.Message) error {
		first, last := ms[0], ms[len(ms)-1]
		told("messages %d to %d, attempts %d to %d", first.Offset, last.Offset, first.Attempt, last.Attempt)
		call, fixed, closed := called(first.Offset)
		switch {
		case closed:
			return &keystrand.BatchError{Err: keystrand.Permanent(errBoom)}
		case fixed:
			return nil
		}
		return b.batch(call, ms)
	}
	dlq := sinkmemory.New()
	policy := pipeline.Stop
	if b.policy != nil {
		policy = b.policy(dlq)
	}
	log := memory.NewLog("posts", 1)
	store := spill.New()
	begin := func() (*running, *memory.Source) {
		src := memory.NewSource(memory.Config{}, log)
		build := pipeline.From(watch(t, src, nil)).Divert(store).
			Timing(pipeline.Timing{DrainTimeout: time.Second}).Limits(pipeline.Limits{MaxBatch: 3}).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				mu.Lock()
				closed := !open
				mu.Unlock()
				switch {
				case closed && stored:
					return pipeline.Hold(f)
				case closed:
					return pipeline.Block(f)
				}
				told("policy for %d, attempt %d, permanent %v: %v", f.Message.Offset, f.Message.Attempt, f.Permanent, firstLine(f.Err))
				return policy(f)
			})
		if b.retry {
			build.Use(middleware.Retry(middleware.RetryPolicy{DisableJitter: true, MaxAttempts: 3}))
		}
		if b.batch != nil {
			build.HandleBatchFunc(handleBatch)
		} else {
			build.HandleFunc(handle)
		}
		return start(t, build), src
	}
	run, src := begin()
	for i := range 5 {
		log.Append(0, keystrand.Message{Key: []byte("k"), Value: fmt.Append(nil, i), Headers: []keystrand.Header{{Key: "h", Value: []byte("v")}}})
		time.Sleep(time.Millisecond)
	}
	time.Sleep(3 * time.Second)
	mu.Lock()
	open, resumed = true, time.Now()
	mu.Unlock()
	if stored {
		if n, err := run.ResumeHeld(t.Context(), "posts", 0, "k", "ann"); n != 5 || err != nil {
			t.Errorf("resume = %d, %v; want 5", n, err)
		}
	} else if !run.Resume("posts", 0, "k") {
		t.Error("the key is not blocked")
	}
	if b.during != nil {
		time.Sleep(time.Second)
		b.during(run, src, func() {
			mu.Lock()
			defer mu.Unlock()
			repaired = true
		})
	}
	time.Sleep(time.Minute)
	s := run.Snapshot()
	err := run.stop()
	told("Run = %v; skipped %d, failed %d, retried %d, postponed %d, dead-lettered %d", firstLine(err), s.Skipped, s.Failed, s.Retried, s.Postponed, s.DeadLettered)
	for _, m := range dlq.Messages() {
		told("letter %s %s", m.Key, m.Value)
		for _, h := range m.Headers {
			told("header %s: %s", h.Key, h.Value)
		}
	}
	mu.Lock()
	repaired = true
	mu.Unlock()
	run, _ = begin()
	time.Sleep(time.Minute)
	if s := run.part(t, 0); s.Committed != 5 || len(store.Strands("posts", 0)) != 0 {
		t.Errorf("not all is handled: %+v", s)
	}
	conserveDiverted(t, run.Snapshot())
	if err := run.stop(); err != nil {
		t.Error(err)
	}
	return trace.String()
}

// firstLine returns the text of an error without the stack of a panic.
func firstLine(err error) string {
	if err == nil {
		return "nil"
	}
	if e, ok := errors.AsType[*keystrand.PanicError](err); ok {
		return fmt.Sprint("panic ", e.Value)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
