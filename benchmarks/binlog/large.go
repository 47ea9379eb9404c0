package main

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
	"github.com/keystrand/keystrand/pipeline"
)

type largeRow struct {
	Part        string  `json:"part"`
	Log         string  `json:"log"`
	Transaction int     `json:"transaction_mb"`
	InFlight    int     `json:"in_flight_mb"` // Limits.InFlightBytes
	Handled     float64 `json:"mb_per_s"`
	Live        float64 `json:"live_mb"` // the most that was reachable after a collection
	RSS         float64 `json:"rss_mb"`  // includes garbage
	Goal        string  `json:"goal"`
}

const largeValue = 1000 // bytes of a row in the log

// large reads a transaction that is much larger than the memory a pipeline may use, with a handler that is slower than the log.
func large(ctx context.Context, r *run, p binlogbench.Primary) error {
	t := bench.NewTable("large: one transaction, rows of 1,000 bytes, a slow handler", r.json)
	size, limit := pick(r, 1024, 64), pick(r, 128, 4) // MiB
	rows := size << 20 / largeValue
	from, err := fill(ctx, p, 1, binlogbench.Load{Tables: []string{"large"}, Rows: rows, Transaction: rows, Value: largeValue})
	if err != nil {
		return err
	}
	res, err := bench.Run[largeResult](ctx, "large", largeReading{
		reading{Client: p.Client(), From: from, Tables: []string{"large"}, Rows: rows}, limit << 20,
	})
	if err != nil {
		return err
	}
	t.Row(largeRow{
		Part: "large", Log: r.log, Transaction: size, InFlight: limit, Handled: float64(size) / res.Seconds, Live: res.Live, RSS: res.RSS,
		Goal: fmt.Sprintf("live_mb <= in_flight_mb + 64 = %d", limit+64),
	})
	return nil
}

type largeReading struct {
	reading
	InFlightBytes int
}

type largeResult struct{ Seconds, Live, RSS float64 }

// readLarge reads a log, and looks at the memory meanwhile.
func readLarge(ctx context.Context, s largeReading) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &reader{reading: s.reading, over: cancel}
	src, err := r.open(s.Tables, binlogbench.NewStore())
	if err != nil {
		return err
	}
	const each = time.Millisecond
	p, err := pipeline.From(src).
		HandleFunc(func(context.Context, *keystrand.Message) error {
			time.Sleep(each)
			r.see(1)
			return nil
		}).
		Limits(pipeline.Limits{Workers: 64, InFlight: s.Rows, InFlightBytes: s.InFlightBytes}).
		Build()
	if err != nil {
		return err
	}
	most := make(chan uint64)
	go func() { most <- mostLive(ctx) }()
	if err := p.Run(ctx); err != nil {
		return err
	}
	if n := r.seen.Load(); n != int64(s.Rows) {
		return fmt.Errorf("%d rows, want %d", n, s.Rows)
	}
	return bench.Answer(largeResult{r.rows.Usage().Seconds, float64(<-most) / (1 << 20), bench.PeakRSS()})
}

// mostLive returns the most memory that a collection has found to be live until the end of ctx.
func mostLive(ctx context.Context) (most uint64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-tick.C:
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
		case <-ctx.Done():
			return most
		}
	}
}
