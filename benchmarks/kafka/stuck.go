package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

type stuckRow struct {
	Part       string  `json:"part"`
	Run        string  `json:"run"`
	Keys       string  `json:"keys"`
	Messages   int     `json:"messages"` // of the other keys
	Workers    int     `json:"workers"`
	Handler    float64 `json:"handler_ms"`
	InFlight   int     `json:"in_flight"`
	MaxReplay  int     `json:"max_replay"`
	Metadata   int     `json:"metadata_limit"`       // of a commit, in bytes; 0: the default
	Rate       float64 `json:"per_s"`                // of the other keys; 0: not measured, the partition waits
	Ratio      float64 `json:"ratio"`                // to the run without a stuck key; 0: not measured
	Elsewhere  float64 `json:"ratio_other_parts"`    // the same for keys of other partitions
	Waited     string  `json:"partitions_that_wait"` // because of MaxReplay, from the snapshot
	Bottleneck string  `json:"bottleneck"`           // from the snapshot
	Goal       string  `json:"goal"`
}

// stuck measures the rate of the other keys while the handler of one key does not return.
func stuck(ctx context.Context, r *run) error {
	t := bench.NewTable("one stuck key among 10,000", r.json)
	const workers, handler = 100, time.Millisecond
	keys := bench.Uniform(10_000, pick(r, 400_000, 60_000))
	topic, err := r.fill(ctx, keys, 100)
	if err != nil {
		return err
	}
	others, elsewhere := 0, 0
	for i := range keys.Len() {
		if n := keys.Number(i); n != 0 {
			others++
			if n%partitions != 0 {
				elsewhere++
			}
		}
	}
	runs := []struct {
		name                string
		stuck               bool
		inFlight, maxReplay int
		metadata            int // bytes for what is settled ahead; 0: the default
	}{
		{"without a stuck key", false, 20_000, 100_000, 0},
		{"with one", true, 20_000, 100_000, 0},
		{"with one, commits hold the frontier alone", true, 2_000, 3_000, 1}, // no gap fits into the metadata, and the partition has more messages than MaxReplay
	}
	once := func(i int) bool { return i == 2 } // this run only shows the snapshot's answer
	results, err := bench.Alternate(pick(r, 5, 1), len(runs), once, func(round, i int) (blockResult, error) {
		one := runs[i]
		return bench.Run[blockResult](ctx, "block", blocking{
			Brokers: r.kafka.Brokers, Topic: topic, Group: fmt.Sprintf("%s-%d-%d", topic, round, i), Workers: workers, Handler: handler,
			Stuck: one.stuck, InFlight: one.inFlight, MaxReplay: one.maxReplay, Metadata: one.metadata, Others: others, Elsewhere: elsewhere,
		})
	})
	if err != nil {
		return err
	}
	for i, one := range runs {
		row := stuckRow{
			Part: "stuck", Run: one.name, Keys: keys.Name, Messages: others, Workers: workers, Handler: float64(handler) / 1e6, InFlight: one.inFlight, MaxReplay: one.maxReplay, Metadata: one.metadata,
			Rate:      results.Median(i, func(res, _ blockResult) float64 { return float64(others) / res.Seconds }),
			Ratio:     results.Median(i, func(res, without blockResult) float64 { return without.Seconds / res.Seconds }),
			Elsewhere: results.Median(i, func(res, without blockResult) float64 { return without.Elsewhere / res.Elsewhere }),
			Waited:    results[i][0].Waited, Bottleneck: results[i][0].Bottleneck,
		}
		switch i {
		case 1:
			row.Goal = "ratio >= 0.98"
		case 2:
			row.Goal = "its partition waits, no other"
			row.Rate, row.Ratio = 0, 0 // the other keys of the partition are never done
		}
		t.Row(row)
	}
	return nil
}

// blocking has the arguments of block, which handles a topic until the messages of all keys except key-0 are settled. If
// commits cannot hold anything ahead of the frontier, it handles only the other partitions to their ends, until the
// partition of key-0 waits.
type blocking struct {
	Brokers   []string
	Topic     string
	Group     string
	Workers   int
	Handler   time.Duration
	InFlight  int
	Stuck     bool // the handler of key-0 does not return
	MaxReplay int
	Metadata  int // limit of a commit, in bytes; 0: the default
	Others    int // messages of other keys
	Elsewhere int // messages of other partitions
}

type blockResult struct {
	Seconds    float64 // until the other keys were done
	Elsewhere  float64 // until those in other partitions were
	Waited     string
	Bottleneck string
}

func block(ctx context.Context, b blocking) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := kafka.New(b.Brokers, b.Group, []string{b.Topic}, kafka.Config{MetadataLimit: b.Metadata})
	if err != nil {
		return err
	}
	var first, others, elsewhere atomic.Int64
	var res blockResult
	start := time.Now()
	p, err := pipeline.From(&rejoins{Source: src, once: true}).
		HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
			first.CompareAndSwap(0, int64(time.Since(start)))
			if string(m.Key) == "key-0" {
				if b.Stuck {
					<-ctx.Done()
				}
				return ctx.Err()
			}
			time.Sleep(b.Handler)
			since := func() float64 { return (time.Since(start) - time.Duration(first.Load())).Seconds() }
			if m.Partition != 0 && elsewhere.Add(1) == int64(b.Elsewhere) { // key-0 is in partition 0
				res.Elsewhere = since()
				if b.Metadata > 0 {
					cancel() // the rest is never handled
				}
			}
			if others.Add(1) == int64(b.Others) {
				res.Seconds = since()
				cancel()
			}
			return nil
		}).
		Limits(pipeline.Limits{Workers: b.Workers, InFlight: b.InFlight, MaxReplay: b.MaxReplay}).
		Timing(pipeline.Timing{DrainTimeout: 100 * time.Millisecond}).
		Build()
	if err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		res.Waited, res.Bottleneck = waits(ctx, p)
	}()
	if err := p.Run(ctx); err != nil {
		return err
	}
	<-watched
	if res.Elsewhere == 0 || res.Seconds == 0 && b.Metadata == 0 {
		return context.Cause(ctx)
	}
	return bench.Answer(res)
}

// waits polls a pipeline until ctx ends. It returns the partitions that wait because of MaxReplay and the bottleneck at
// that time, or the most frequent bottleneck if none waits.
func waits(ctx context.Context, p *pipeline.Pipeline) (partitions, bottleneck string) {
	waited, said, rest := map[string]bool{}, map[pipeline.Bottleneck]int{}, map[pipeline.Bottleneck]int{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(said) == 0 {
				said = rest
			}
			var names, list []string
			for name := range waited {
				names = append(names, name)
			}
			for b := range said {
				list = append(list, b.String())
			}
			slices.Sort(names)
			slices.Sort(list)
			if len(names) == 0 {
				names = []string{"none"}
			}
			return strings.Join(names, " "), strings.Join(list, " ")
		case <-tick.C:
			s := p.Snapshot()
			waiting := false
			for _, pt := range s.Partitions {
				if pt.Waits == pipeline.WaitReplay {
					waiting, waited[fmt.Sprint(pt.ID.Partition)] = true, true
				}
			}
			if waiting {
				said[s.Bottleneck]++
			} else if s.InFlight > 0 {
				rest[s.Bottleneck]++
			}
		}
	}
}
