// Package pipelinetest runs a stage (middleware, handler, failure policy) on given messages in a test: through lanes,
// retries and policies as in production. There are two ways to run it:
//
//   - [Run] has virtual time. A retry after an hour takes no time, and the times in the result are exact. Use it unless
//     the stage does real I/O: an ordinary http.Client, a database. Within Run such a call hangs, because virtual time
//     stands still while a goroutine waits for the network.
//   - [RunReal] has real time and is bounded by a context. Use it for a stage with real I/O, for instance with an
//     httptest.Server. Keep its retries short: their delays pass for real.
//
// The messages come from a source in memory. If the source in production is a source.Keyer, set Builder.Key to its Key.
//
// It does not test a source or a sink: packages sourcetest and sinktest do.
package pipelinetest

import (
	"cmp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// Stream is the stream of all messages that Run hands out.
const Stream = "test"

// Result is the result of a run.
type Result struct {
	// Err is the error of the pipeline's Run: nil if all messages were settled.
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
	Start, End time.Duration // since the start of the pipeline
	Err        error         // of the chain
}

// Run hands the messages, in this order and from one partition, to the pipeline that compose makes. It returns when all
// of them are settled, or the pipeline has stopped. compose gets a builder that has its source; it sets at least a
// handler. The messages' offsets count from 0.
//
// Run does not return for a key that is blocked for good (pipeline.Block): end the pipeline with another policy, or use
// [RunReal].
//
// Everything runs in a testing/synctest bubble. Compose and handlers must not use real I/O, and a goroutine that they
// leave behind fails the test. Run must not be called within another bubble.
func Run(t *testing.T, compose func(*pipeline.Builder), msgs ...keystrand.Message) Result {
	t.Helper()
	var r Result
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		s := newStage(t, compose, msgs)
		r = s.result(s.pipeline.Run(t.Context()))
	})
	return r
}

// stage is a pipeline on given messages.
type stage struct {
	log      *memory.Log
	pipeline *pipeline.Pipeline
	rec      *recorder
}

func newStage(tb testing.TB, compose func(*pipeline.Builder), msgs []keystrand.Message) *stage {
	tb.Helper()
	s := &stage{log: memory.NewLog(Stream, 1), rec: &recorder{start: time.Now(), running: map[int]bool{}}}
	s.log.Append(0, msgs...)
	s.log.Close()
	b := pipeline.From(memory.NewSource(memory.Config{}, s.log)).Use(s.rec.middleware)
	compose(b)
	p, err := b.Build()
	if err != nil {
		tb.Fatalf("pipelinetest: %v", err)
	}
	s.pipeline = p
	return s
}

// result returns the Result after the pipeline's Run has returned err.
func (s *stage) result(err error) Result {
	r := Result{Err: err, Snapshot: s.pipeline.Snapshot(), Calls: s.rec.ended()}
	slices.SortStableFunc(r.Calls, func(a, b Call) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Offset, b.Offset))
	})
	if c := s.log.Group("").Committed(0); c != nil {
		r.Committed = c.Frontier
	}
	return r
}
