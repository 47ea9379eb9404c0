// Command service handles all messages of a topic with a handler that waits, and measures itself. It is a program of its own,
// so that it links what a service links, and no benchmark. ../cost.go builds and starts it.
package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

func main() { bench.ServeWork(map[string]bench.Work{"serve": bench.WorkOf(serve)}) }

// serve handles all messages of a topic.
func serve(ctx context.Context, s bench.Service) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first, left, handling atomic.Int64
	left.Store(int64(s.Messages))
	var took time.Duration
	start := time.Now()
	handle := func() {
		begun := time.Since(start)
		first.CompareAndSwap(0, int64(begun))
		time.Sleep(s.Handler)
		handling.Add(int64(time.Since(start) - begun))
		if left.Add(-1) == 0 {
			took = time.Since(start) - time.Duration(first.Load())
			cancel()
		}
	}
	var err error
	if s.Engine == "keystrand" {
		err = servePipeline(ctx, s, handle)
	} else {
		err = serveByHand(ctx, s, handle)
	}
	if err != nil {
		return err
	}
	busy := float64(handling.Load()) / float64(took) / float64(s.Workers)
	return bench.Answer(bench.Served{Seconds: took.Seconds(), Busy: busy, CPU: bench.CPUTime().Seconds(), RSS: bench.PeakRSS()})
}

func servePipeline(ctx context.Context, s bench.Service, handle func()) error {
	src, err := kafka.New(s.Brokers, s.Group, []string{s.Topic}, kafka.Config{})
	if err != nil {
		return err
	}
	p, err := pipeline.From(src).
		HandleFunc(func(context.Context, *keystrand.Message) error { handle(); return nil }).
		Limits(pipeline.Limits{Workers: s.Workers}).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}
