// Package pipelinetest runs a stage (middleware, handler, failure policy) on given messages in a test: the same way
// through lanes, retries and policies as in production, with time that is virtual. A retry after an hour takes no time,
// and the times in the result are exact.
//
// It says nothing about a source or sink: they have suites of their own, sourcetest and sinktest.
package pipelinetest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// Stream is the stream of all messages that Run hands out.
const Stream = "test"

// Result is what became of the messages.
type Result struct {
	// Err is what the pipeline's Run returned: nil if all messages were settled.
	Err error
	// Calls are the calls of the handler chain, by start, then by offset.
	Calls []Call
	// Snapshot was taken at the end.
	Snapshot pipeline.Snapshot
	// Committed is the frontier that was committed last: all messages below this offset are settled.
	Committed int64
}

// Call is one call of the handler chain.
type Call struct {
	Key        string
	Offset     int64 // of the first message
	Messages   int   // of the turn
	Attempt    int
	Start, End time.Duration // since the start of Run
	Err        error         // what the chain returned
}

// Run hands the messages, in this order and from one partition, to the pipeline that compose makes, and returns when
// all of them are settled, or the pipeline has stopped. compose gets a builder that has its source; it sets at least a
// handler. The messages' offsets count from 0.
//
// A key that is blocked for good (pipeline.Block) is never settled: then Run does not return, so end the pipeline with
// another policy.
//
// Everything runs in a testing/synctest bubble, so compose and handlers must not use real I/O, and a goroutine that
// they leave behind fails the test. Run must not be called within another bubble.
func Run(t *testing.T, compose func(*pipeline.Builder), msgs ...keystrand.Message) Result {
	t.Helper()
	var r Result
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		r = run(t, compose, msgs)
	})
	return r
}

func run(t *testing.T, compose func(*pipeline.Builder), msgs []keystrand.Message) Result {
	t.Helper()
	log := memory.NewLog(Stream, 1)
	log.Append(0, msgs...)
	log.Close()
	var rec recorder
	b := pipeline.From(memory.NewSource(memory.Config{}, log)).Use(rec.middleware)
	compose(b)
	p, err := b.Build()
	if err != nil {
		t.Fatalf("pipelinetest: %v", err)
	}
	rec.start = time.Now()
	r := Result{Err: p.Run(t.Context())}
	r.Snapshot = p.Snapshot()
	r.Calls = rec.calls
	slices.SortStableFunc(r.Calls, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Offset, b.Offset))
	})
	if c := log.Group("").Committed(0); c != nil {
		r.Committed = c.Frontier
	}
	return r
}

// recorder is the outermost middleware: it notes every turn.
type recorder struct {
	start time.Time

	mu    sync.Mutex
	calls []Call
}

func (r *recorder) middleware(next keystrand.Next) keystrand.Next {
	return func(ctx context.Context, c *keystrand.Call) (err error) {
		m := c.Messages[0]
		call := Call{Key: string(m.Key), Offset: m.Offset, Messages: len(c.Messages), Attempt: int(m.Attempt), Start: time.Since(r.start), Err: errExited}
		defer func() {
			call.End = time.Since(r.start)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.calls = append(r.calls, call)
		}()
		err = next(ctx, c)
		call.Err = err
		return err
	}
}

var errExited = errors.New("pipelinetest: the handler ended its goroutine")
