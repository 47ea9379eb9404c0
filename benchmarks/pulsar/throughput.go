package main

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
)

const (
	partitions = 4
	batch      = 100 // messages of one entry, as of a busy producer; decides much of the throughput
)

type throughputRow struct {
	Part     string  `json:"part"`
	Engine   string  `json:"engine"`
	Keys     string  `json:"keys"`
	Value    int     `json:"value_bytes"`
	Messages int     `json:"messages"`
	Rate     float64 `json:"per_s"`
	Ratio    float64 `json:"ratio"`       // to the bare loop's rate
	CPU      float64 `json:"cpu_ns"`      // per message
	CPUMore  float64 `json:"cpu_ns_more"` // than the bare loop
	Allocs   float64 `json:"allocs"`      // per message
	Bytes    float64 `json:"alloc_bytes"` // per message
	RSS      float64 `json:"rss_mb"`
	Goal     string  `json:"goal"`
}

// throughput compares a pipeline with an empty handler with a bare Receive loop. Engines alternate; a ratio is the median
// of the rounds' ratios.
func throughput(ctx context.Context, r *run) error {
	t := bench.NewTable("throughput: empty handler, 4 partitions, batches of 100", r.json)
	rounds := pick(r, 5, 2)
	for _, size := range []struct{ value, full, short int }{{100, 1_000_000, 200_000}, {1_000, 300_000, 100_000}} {
		keys := bench.Uniform(10_000, pick(r, size.full, size.short))
		value := make([]byte, size.value)
		for i := range value {
			value[i] = byte('a' + i%26)
		}
		ends := make([]int, partitions)
		topic, err := r.pulsar.Fill(ctx, partitions, keys.Len(), pulsarbench.Batching{Messages: batch}, func(i int) (int, []byte, []byte) {
			p := keys.Number(i) % partitions
			ends[p]++
			return p, keys.At(i), value
		})
		if err != nil {
			return err
		}
		engines := []string{"Receive loop", "keystrand", "keystrand's source alone"}
		all, err := bench.Alternate(rounds, len(engines), nil, func(round, i int) (readResult, error) {
			return bench.Run[readResult](ctx, "read", reading{
				URL: r.pulsar.URL, Topic: topic, Subscription: fmt.Sprintf("s-%d-%d", round, i), Engine: engines[i], Ends: ends,
			})
		})
		if err != nil {
			return err
		}
		n := float64(keys.Len())
		for i, engine := range engines {
			median := func(figure func(res, bare readResult) float64) float64 { return all.Median(i, figure) }
			row := throughputRow{
				Part: "throughput", Engine: engine, Keys: keys.Name, Value: size.value, Messages: keys.Len(),
				Rate:    median(func(res, _ readResult) float64 { return n / res.Seconds }),
				Ratio:   median(func(res, bare readResult) float64 { return bare.Seconds / res.Seconds }),
				CPU:     median(func(res, _ readResult) float64 { return res.CPU / n * 1e9 }),
				CPUMore: median(func(res, bare readResult) float64 { return (res.CPU - bare.CPU) / n * 1e9 }),
				Allocs:  median(func(res, _ readResult) float64 { return res.Allocs / n }),
				Bytes:   median(func(res, _ readResult) float64 { return res.Bytes / n }),
				RSS:     median(func(res, _ readResult) float64 { return res.RSS }),
			}
			if engine == "keystrand" {
				row.Goal = "ratio >= 0.90"
			}
			t.Row(row)
		}
	}
	return nil
}
