package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

const (
	defaultLimit = time.Minute     // of RunReal, if its ctx has no deadline
	grace        = 5 * time.Second // for handlers to return after that
)

// RunReal is [Run] in real time, without a bubble: for a stage that does real I/O.
//
// The test fails if the messages are not settled when ctx ends, at its deadline or after a minute if it has none. The
// failure names the messages whose handlers run, or else the oldest message and what it waits for. The handlers' ctx
// ends then. A handler that ignores that keeps running for at most as long as the test binary does.
//
// RunReal must be called from the goroutine of the test.
func RunReal(ctx context.Context, tb testing.TB, compose func(*pipeline.Builder), msgs ...keystrand.Message) Result {
	tb.Helper()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultLimit)
		defer cancel()
	}
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	s := newStage(tb, compose, msgs)
	s.rec.over = run
	done := make(chan error, 1)
	go func() { done <- s.pipeline.Run(run) }()
	select {
	case err := <-done:
		return s.result(err)
	case <-ctx.Done():
	}
	unsettled := s.unsettled()
	stop(errLimit)
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case err := <-done:
		if err != nil {
			unsettled += fmt.Sprintf("\nthe pipeline returned: %v", err)
		}
	case <-late.C:
		unsettled += fmt.Sprintf("\nit has not returned %v after its ctx ended, and runs on", grace)
	}
	tb.Fatalf("pipelinetest: not all messages are settled (%v):\n%s", context.Cause(ctx), unsettled)
	return Result{}
}

// unsettled describes the messages that prevent the pipeline from ending.
func (s *stage) unsettled() string {
	if running := s.rec.handled(); running != "" {
		return running
	}
	for _, p := range s.pipeline.Snapshot().Partitions {
		if k := p.Oldest; k != nil {
			return fmt.Sprintf("key %q, offset %d, attempt %d: waits for %v", k.Key, k.Offset, k.Attempt, k.Why)
		}
	}
	return "no message is unsettled: the pipeline has not ended"
}

var errLimit = errors.New("pipelinetest: the ctx of RunReal has ended")
