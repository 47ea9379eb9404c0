package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/kafkabench"
)

type costRow struct {
	Part       string  `json:"part"`
	Engine     string  `json:"engine"`
	Keys       string  `json:"keys"`
	Workers    int     `json:"workers"`
	Handler    float64 `json:"handler_ms"`
	Messages   int     `json:"messages"`
	BatchBytes int32   `json:"batch_bytes"`   // of the log, at most
	Seconds    float64 `json:"seconds"`       // from the first message to the last
	Efficiency float64 `json:"efficiency"`    // rate / (workers / handler time)
	Busy       float64 `json:"busy"`          // share of the workers' time that their handlers took, late timers included
	CPU        float64 `json:"cpu_s_20k"`     // CPU seconds of the whole process for 20,000 messages
	CPURatio   float64 `json:"cpu_s_by_hand"` // ratio to the hand-written service
	RSS        float64 `json:"rss_mb"`
	Goal       string  `json:"goal"`
}

// cost measures CPU and memory of a service with a handler that waits, for its whole process with start and stop. It
// compares a hand-written service: goroutines that each own a part of the keys and have a queue.
func cost(ctx context.Context, r *run) error {
	dir, err := os.MkdirTemp("", "keystrand-service-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	service := filepath.Join(dir, "service")
	build := exec.CommandContext(ctx, "go", "build", "-o", service, "github.com/keystrand/keystrand/benchmarks/kafka/service")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as for an image without a C library
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the service: %w\n%s", err, out)
	}
	t := bench.NewTable("cost of a service", r.json)
	for _, batch := range []int32{16 << 10, largeBatches} { // the first is the default of Java's producer
		if err := costOf(ctx, r, service, batch, t); err != nil {
			return err
		}
	}
	return nil
}

// costOf measures on a log of batches of at most so many bytes.
func costOf(ctx context.Context, r *run, service string, batch int32, t *bench.Table) (err error) {
	k, err := kafkabench.New(r.kafka.Brokers, batch)
	if err != nil {
		return err
	}
	defer k.Close()
	defer func() { err = errors.Join(err, k.Forget(context.WithoutCancel(ctx))) }()
	const workers, handler = 100, 50 * time.Millisecond
	keys := bench.Uniform(10_000, pick(r, 20_000, 2_000))
	topic, err := fill(ctx, k, keys, 100)
	if err != nil {
		return err
	}
	engines := []string{"kafka-go by hand", "keystrand"}
	all, err := bench.Alternate(pick(r, 3, 1), len(engines), nil, func(round, i int) (bench.Served, error) {
		return bench.RunProgram[bench.Served](ctx, service, "serve", bench.Service{
			Brokers: k.Brokers, Topic: topic, Group: fmt.Sprintf("%s-%d-%d", topic, round, i), Engine: engines[i],
			Workers: workers, Messages: keys.Len(), Handler: handler,
		})
	})
	if err != nil {
		return err
	}
	for i, engine := range engines {
		median := func(figure func(res, hand bench.Served) float64) float64 { return all.Median(i, figure) }
		row := costRow{
			Part: "cost", Engine: engine, Keys: keys.Name, Workers: workers, Handler: float64(handler) / 1e6,
			Messages: keys.Len(), BatchBytes: batch,
			Seconds:  median(func(res, _ bench.Served) float64 { return res.Seconds }),
			Busy:     median(func(res, _ bench.Served) float64 { return res.Busy }),
			CPU:      median(func(res, _ bench.Served) float64 { return res.CPU }) * 20_000 / float64(keys.Len()),
			CPURatio: median(func(res, hand bench.Served) float64 { return res.CPU / hand.CPU }),
			RSS:      median(func(res, _ bench.Served) float64 { return res.RSS }),
		}
		row.Efficiency = float64(keys.Len()) / row.Seconds / (workers / handler.Seconds())
		if engine == "keystrand" {
			row.Goal = "busy >= 0.99, cpu_s_20k <= 0.2, rss_mb <= 20"
		}
		t.Row(row)
	}
	return nil
}
