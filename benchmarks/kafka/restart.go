package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

type restartRow struct {
	Part     string  `json:"part"`
	Keys     string  `json:"keys"`
	Restarts int     `json:"restarts"`
	First    float64 `json:"first_message_ms"`      // from the start of the pipeline to its first handler: median
	Longest  float64 `json:"first_message_most_ms"` // the longest
	Stop     float64 `json:"idle_stop_ms"`          // from the end of ctx to the return of Run, nothing in flight: median
	Stopped  float64 `json:"idle_stop_most_ms"`
	Goal     string  `json:"goal"`
}

// restart starts the only member of a group again and again, each time after an orderly stop. A member handles one message of
// each partition, so that a backlog is left for the next, and stops when it is idle.
func restart(ctx context.Context, r *run) error {
	t := bench.NewTable("restarts of a member after an orderly stop", r.json)
	row := restartRow{Part: "restart", Restarts: pick(r, 20, 5), Goal: "first_message_ms <= 1000, idle_stop_ms <= 100"}
	keys := bench.Uniform(10_000, 0)
	topic, err := r.fill(ctx, keys, 100)
	if err != nil {
		return err
	}
	var firsts, stops []float64
	for range row.Restarts {
		if err := r.feedOnce(ctx, topic); err != nil {
			return err
		}
		first, stopped, err := r.restarted(ctx, topic)
		if err != nil {
			return err
		}
		firsts, stops = append(firsts, ms(first)), append(stops, ms(stopped))
		row.Longest, row.Stopped = max(row.Longest, ms(first)), max(row.Stopped, ms(stopped))
	}
	row.Keys, row.First, row.Stop = "one message of each partition", bench.Median(firsts), bench.Median(stops)
	t.Row(row)
	return nil
}

// feedOnce writes a message to each partition.
func (r *run) feedOnce(ctx context.Context, topic string) error {
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	_, err := r.kafka.Feed(feeding, topic, 1_000, func(i int) (int32, []byte, []byte) {
		if i == partitions-1 {
			stop()
		}
		return int32(i % partitions), fmt.Append(nil, "key-", i), []byte("x")
	})
	return err
}

// restarted runs a member until it has handled what is there. It returns the times until its first handler, and from the end of
// its ctx until it has stopped.
func (r *run) restarted(ctx context.Context, topic string) (first, stopped time.Duration, err error) {
	running, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	src, err := kafka.New(r.kafka.Brokers, topic, []string{topic}, kafka.Config{})
	if err != nil {
		return 0, 0, err
	}
	var at, handled atomic.Int64
	idle := make(chan struct{})
	p, err := pipeline.From(src).HandleFunc(func(context.Context, *keystrand.Message) error {
		at.CompareAndSwap(0, int64(time.Since(began)))
		if handled.Add(1) == partitions {
			close(idle)
		}
		return nil
	}).Build()
	if err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	select {
	case <-idle:
	case err := <-ended:
		return 0, 0, fmt.Errorf("the member ended after %d messages: %w", handled.Load(), err)
	}
	time.Sleep(1500 * time.Millisecond) // more than a commit interval
	asked := time.Now()
	cancel()
	err = <-ended
	return time.Duration(at.Load()), time.Since(asked), err
}
