package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

type hotRow struct {
	Part       string  `json:"part"`
	Run        string  `json:"run"`
	Keys       string  `json:"keys"`
	Messages   int     `json:"messages"`
	Workers    int     `json:"workers"`
	Handler    float64 `json:"handler_ms"`
	InFlight   int     `json:"in_flight"`
	P50        float64 `json:"cold_p50_ms"`
	P99        float64 `json:"cold_p99_ms"`
	Ratio      float64 `json:"p99_ratio"`
	Others     float64 `json:"cold_p99_other_partitions_ms"`
	HotLeft    int     `json:"hot_left"`   // unsettled messages of the hot key when the last cold one was settled
	Bottleneck string  `json:"bottleneck"` // most frequent one until then
	Goal       string  `json:"goal"`
}

// hot measures when the messages of cold keys are settled while one hot key has half of all messages.
func hot(ctx context.Context, r *run) error {
	t := bench.NewTable("one key has half of the messages", r.json)
	const workers, handler = 100, time.Millisecond
	n := pick(r, 60_000, 6_000)
	smaller := pick(r, 20_000, 2_000) // in proportion to the messages
	keys := bench.Hot(0.5, 10_001, n)
	both, err := r.fill(ctx, keys, 100)
	if err != nil {
		return err
	}
	cold := 0
	for i := range n {
		if keys.Number(i) != 0 {
			cold++
		}
	}
	alone, err := r.fill(ctx, bench.Uniform(10_000, cold), 100)
	if err != nil {
		return err
	}
	runs := []struct {
		name, topic string
		inFlight    int
	}{{"the cold keys alone", alone, 2 * n}, {"the budget holds all", both, 2 * n}, {"a smaller budget", both, smaller}}
	once := func(i int) bool { return i == 2 } // this run lasts until the hot key is settled
	results, err := bench.Alternate(pick(r, 5, 1), len(runs), once, func(round, i int) (burnResult, error) {
		return bench.Run[burnResult](ctx, "burn", burning{
			Brokers: r.kafka.Brokers, Topic: runs[i].topic, Group: fmt.Sprintf("%s-%d-%d", runs[i].topic, round, i),
			Workers: workers, InFlight: runs[i].inFlight, Hold: i == 1, Cold: cold, Handler: handler,
			Hot: i > 0,
		})
	})
	if err != nil {
		return err
	}
	for i, one := range runs {
		row := hotRow{
			Part: "hot", Run: one.name, Keys: keys.Name, Messages: n, Workers: workers, Handler: float64(handler) / 1e6, InFlight: one.inFlight,
			P50:        results.Median(i, func(res, _ burnResult) float64 { return res.P50 }),
			P99:        results.Median(i, func(res, _ burnResult) float64 { return res.P99 }),
			Ratio:      results.Median(i, func(res, alone burnResult) float64 { return res.P99 / alone.P99 }),
			Others:     results.Median(i, func(res, _ burnResult) float64 { return res.Others }),
			Bottleneck: results[i][0].Bottleneck,
		}
		switch i {
		case 0:
			row.Messages, row.Keys = cold, "uniform, 10000 keys"
		case 1:
			row.Goal = "p99_ratio about 1"
		}
		if i > 0 {
			row.HotLeft = n - cold - results[i][0].Hot
		}
		t.Row(row)
	}
	return nil
}

// burning has the arguments of burn, which handles a topic until all messages of cold keys are settled.
type burning struct {
	Brokers  []string
	Topic    string
	Group    string
	Workers  int
	InFlight int
	Hold     bool // one key may use the whole budget
	Hot      bool // key-0 is hot
	Cold     int
	Handler  time.Duration
}

// burnResult has times in ms since the first message.
type burnResult struct {
	P50, P99, Others float64
	Hot              int // hot messages settled by then
	Bottleneck       string
}

func burn(ctx context.Context, b burning) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := kafka.New(b.Brokers, b.Group, []string{b.Topic}, kafka.Config{})
	if err != nil {
		return err
	}
	var first, done, hot atomic.Int64
	start := time.Now()
	took, at := make([]time.Duration, b.Cold), make([]int32, b.Cold)
	limits := pipeline.Limits{Workers: b.Workers, InFlight: b.InFlight}
	if b.Hold {
		limits.KeyShare = b.InFlight
	}
	p, err := pipeline.From(&rejoins{Source: src, once: true}).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			first.CompareAndSwap(0, int64(time.Since(start)))
			time.Sleep(b.Handler)
			if b.Hot && string(m.Key) == "key-0" {
				hot.Add(1)
				return nil
			}
			i := int(done.Add(1)) - 1
			if i < b.Cold {
				took[i], at[i] = time.Since(start), m.Partition
			}
			if i == b.Cold-1 {
				cancel()
			}
			return nil
		}).
		Limits(limits).
		Timing(pipeline.Timing{DrainTimeout: time.Second}).
		Build()
	if err != nil {
		return err
	}
	bottleneck := make(chan string, 1)
	go func() { bottleneck <- mostly(ctx, p) }()
	if err := p.Run(ctx); err != nil {
		return err
	}
	if int(done.Load()) < b.Cold {
		return context.Cause(ctx)
	}
	var others []time.Duration
	for i := range took {
		took[i] -= time.Duration(first.Load())
		if at[i] != 0 { // key-0 is in partition 0
			others = append(others, took[i])
		}
	}
	return bench.Answer(burnResult{quantile(took, 0.5), quantile(took, 0.99), quantile(others, 0.99), int(hot.Load()), <-bottleneck})
}

// mostly polls a pipeline's bottleneck until ctx ends, and returns the most frequent one.
func mostly(ctx context.Context, p *pipeline.Pipeline) string {
	counts := map[pipeline.Bottleneck]int{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			most := pipeline.BottleneckSource
			for b, n := range counts {
				if n > counts[most] {
					most = b
				}
			}
			return most.String()
		case <-tick.C:
			if s := p.Snapshot(); s.InFlight > 0 {
				counts[s.Bottleneck]++
			}
		}
	}
}

// quantile returns the q-th quantile in ms.
func quantile(d []time.Duration, q float64) float64 {
	s := slices.Sorted(slices.Values(d))
	return float64(s[min(len(s)-1, int(q*float64(len(s))))]) / 1e6
}
