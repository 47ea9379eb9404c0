package main

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

type throughputRow struct {
	Part       string  `json:"part"`
	Engine     string  `json:"engine"`
	Keys       string  `json:"keys"`
	Value      int     `json:"value_bytes"`
	Messages   int     `json:"messages"`
	Rate       float64 `json:"per_s"`
	Ratio      float64 `json:"ratio"`       // to the raw loop's rate
	CPU        float64 `json:"cpu_ns"`      // per message
	CPUMore    float64 `json:"cpu_ns_more"` // than the raw loop
	Allocs     float64 `json:"allocs"`      // per message
	AllocsMore float64 `json:"allocs_more"`
	RSS        float64 `json:"rss_mb"`
	Rejoined   int     `json:"rejoined"` // in all rounds; if not 0, the figures are not reliable
	Replayed   int     `json:"replayed"` // messages handled again because of it
	Goal       string  `json:"goal"`
}

// throughput compares a pipeline with an empty handler with a bare loop. Engines alternate; a ratio is the median of the
// rounds' ratios.
func throughput(ctx context.Context, r *run) error {
	t := bench.NewTable("throughput: empty handler, 8 partitions", r.json)
	rounds := pick(r, 5, 2)
	for _, size := range []struct{ value, full, short int }{{100, 2_000_000, 400_000}, {1_000, 500_000, 80_000}} {
		keys := bench.Uniform(10_000, pick(r, size.full, size.short))
		topic, err := r.fill(ctx, keys, size.value)
		if err != nil {
			return err
		}
		ends := make([]int, partitions)
		for i := range keys.Len() {
			ends[keys.Number(i)%partitions]++
		}
		engines := []string{"raw loop", "keystrand", "kafka-go Conn.ReadBatch", "franz-go PollFetches"}
		all, err := bench.Alternate(rounds, len(engines), nil, func(round, i int) (readResult, error) {
			return bench.Run[readResult](ctx, "read", reading{
				Brokers: r.kafka.Brokers, Topic: topic, Group: fmt.Sprintf("%s-%d-%d", topic, round, i), Engine: engines[i], Ends: ends,
			})
		})
		if err != nil {
			return err
		}
		n := float64(keys.Len())
		for i, engine := range engines {
			median := func(figure func(res, raw readResult) float64) float64 { return all.Median(i, figure) }
			row := throughputRow{
				Part: "throughput", Engine: engine, Keys: keys.Name, Value: size.value, Messages: keys.Len(),
				Rate:       median(func(res, _ readResult) float64 { return n / res.Seconds }),
				Ratio:      median(func(res, raw readResult) float64 { return raw.Seconds / res.Seconds }),
				CPU:        median(func(res, _ readResult) float64 { return res.CPU / n * 1e9 }),
				CPUMore:    median(func(res, raw readResult) float64 { return (res.CPU - raw.CPU) / n * 1e9 }),
				Allocs:     median(func(res, _ readResult) float64 { return res.Allocs / n }),
				AllocsMore: median(func(res, raw readResult) float64 { return (res.Allocs - raw.Allocs) / n }),
				RSS:        median(func(res, _ readResult) float64 { return res.RSS }),
			}
			for _, res := range all[i] {
				row.Rejoined += res.Rejoined
				row.Replayed += res.Replayed
			}
			if engine == "keystrand" {
				row.Goal = fmt.Sprintf("ratio >= %s, cpu_ns_more <= 200, allocs_more <= 0.05", map[int]string{100: "0.75", 1_000: "0.90"}[size.value])
			}
			t.Row(row)
		}
	}
	return nil
}
