package main

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/sink"
	kafkasink "github.com/keystrand/keystrand/sink/kafka"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// restart starts the only member of a group again and again.
func restart(ctx context.Context, r *run) error {
	t := bench.NewTable("restarts of a member after an orderly stop", r.json)
	topic, err := r.fill(ctx, bench.Uniform(10_000, 0), 100)
	if err != nil {
		return err
	}
	row, err := bench.Restarts(ctx, pick(r, 20, 5), partitions,
		func() error { return r.feedOnce(ctx, topic) },
		func() (source.Source, error) {
			return kafka.New(r.kafka.Brokers, topic, []string{topic}, kafka.Config{})
		})
	if err != nil {
		return err
	}
	t.Row(row)
	shut, err := bench.Closes(ctx, pick(r, 20, 5), func() (sink.Sink, error) { return kafkasink.New(r.kafka.Brokers, topic, kafkasink.Config{}) })
	if err != nil {
		return err
	}
	bench.NewTable("close of an idle sink", r.json).Row(shut)
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
