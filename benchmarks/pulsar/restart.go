package main

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
	"github.com/keystrand/keystrand/sink"
	pulsarsink "github.com/keystrand/keystrand/sink/pulsar"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar"
)

// restart starts the only member of a subscription again and again: one that takes part in elections, and one that is alone.
func restart(ctx context.Context, r *run) error {
	t := bench.NewTable("restarts of a member after an orderly stop", r.json)
	const partitions = 8
	for _, alone := range []bool{false, true} {
		topic, err := r.pulsar.Make(ctx, partitions)
		if err != nil {
			return err
		}
		row, err := bench.Restarts(ctx, pick(r, 20, 5), partitions,
			func() error {
				return r.pulsar.Write(ctx, topic, partitions, 0, partitions, pulsarbench.Batching{Off: true},
					func(i int) (int, []byte, []byte) { return i, fmt.Append(nil, "key-", i), []byte("x") })
			},
			func() (source.Source, error) {
				return pulsar.New(r.pulsar.URL, "s", []string{topic}, pulsar.Config{Alone: alone})
			})
		if err != nil {
			return err
		}
		if alone {
			row.Keys += ", Alone"
		}
		t.Row(row)
	}
	topic, err := r.pulsar.Make(ctx, partitions)
	if err != nil {
		return err
	}
	row, err := bench.Closes(ctx, pick(r, 20, 5), r.sinks(topic)) //nolint:contextcheck // New of the sink takes no ctx
	if err != nil {
		return err
	}
	bench.NewTable("close of an idle sink", r.json).Row(row)
	return nil
}

func (r *run) sinks(topic string) func() (sink.Sink, error) {
	return func() (sink.Sink, error) { return pulsarsink.New(r.pulsar.URL, topic, pulsarsink.Config{}) }
}
