package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

type costRow struct {
	Part       string  `json:"part"`
	Engine     string  `json:"engine"`
	Keys       string  `json:"keys"`
	Workers    int     `json:"workers"`
	Handler    float64 `json:"handler_ms"`
	Messages   int     `json:"messages"`
	Seconds    float64 `json:"seconds"`
	Efficiency float64 `json:"efficiency"`    // rate / (workers / handler time)
	CPU        float64 `json:"cpu_s_20k"`     // CPU seconds of the whole process for 20,000 messages
	CPURatio   float64 `json:"cpu_s_by_hand"` // ratio to the hand-written service
	RSS        float64 `json:"rss_mb"`
	Goal       string  `json:"goal"`
}

// cost measures CPU and memory of a service with a handler that waits, for its whole process with start and stop. It
// compares a hand-written service: goroutines that each own a part of the keys and have a queue.
func cost(ctx context.Context, r *run) error {
	t := bench.NewTable("cost of a service", r.json)
	const workers, handler = 100, 50 * time.Millisecond
	keys := bench.Uniform(10_000, pick(r, 20_000, 2_000))
	topic, err := r.fill(ctx, keys, 100)
	if err != nil {
		return err
	}
	engines := []string{"keystrand", "kafka-go by hand"}
	rows := make([][]serveResult, len(engines))
	for round := range pick(r, 3, 1) {
		for i, engine := range engines {
			res, err := bench.Run[serveResult](ctx, "serve", serving{
				Brokers: r.kafka.Brokers, Topic: topic, Group: fmt.Sprintf("%s-%d-%d", topic, round, i), Engine: engine,
				Workers: workers, Messages: keys.Len(), Handler: handler,
			})
			if err != nil {
				return err
			}
			rows[i] = append(rows[i], res)
		}
	}
	for i, engine := range engines {
		median := func(f func(res, hand serveResult) float64) float64 {
			figures := make([]float64, len(rows[i]))
			for round := range figures {
				figures[round] = f(rows[i][round], rows[1][round])
			}
			return bench.Median(figures)
		}
		row := costRow{
			Part: "cost", Engine: engine, Keys: keys.Name, Workers: workers, Handler: float64(handler) / 1e6, Messages: keys.Len(),
			Seconds:  median(func(res, _ serveResult) float64 { return res.Seconds }),
			CPU:      median(func(res, _ serveResult) float64 { return res.CPU }) * 20_000 / float64(keys.Len()),
			CPURatio: median(func(res, hand serveResult) float64 { return res.CPU / hand.CPU }),
			RSS:      median(func(res, _ serveResult) float64 { return res.RSS }),
		}
		row.Efficiency = float64(keys.Len()) / row.Seconds / (workers / handler.Seconds())
		if i == 0 {
			row.Goal = "cpu_s_20k <= 0.2, rss_mb <= 20"
		}
		t.Row(row)
	}
	return nil
}
