package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/kafkabench"
)

type hotKeysRow struct {
	Part        string  `json:"part"`
	Run         string  `json:"run"`
	Mode        string  `json:"mode"`
	Cold        int     `json:"cold_per_s"`     // messages of the cold keys
	Hot         int     `json:"hot_per_s"`      // messages of all hot keys
	Seconds     float64 `json:"load_s"`         // how long the hot keys were hot
	P50         float64 `json:"cold_p50_ms"`    // from the times at which messages were due; those that are not handled count
	P99         float64 `json:"cold_p99_ms"`    // with the time that they have waited
	Max         float64 `json:"cold_max_ms"`    //
	Ratio       float64 `json:"p99_ratio"`      // to the run of the same mode without hot keys
	Unhandled   int     `json:"cold_unhandled"` // a second after the load, in all rounds
	Appends     float64 `json:"appends_per_s"`
	HotRate     float64 `json:"hot_key_per_s"`      // handled messages of one hot key during the load
	HotOfLane   float64 `json:"hot_key_of_lane"`    // to the rate of a hot key's lane alone, in mode pause
	Drained     float64 `json:"drain_per_s"`        // handled messages of one hot key after the load
	DrainOfLane float64 `json:"drain_of_lane"`      // to the rate of a hot key's lane alone after the load, in mode pause
	Backlog     float64 `json:"hot_backlog"`        // messages of one hot key, at most, that were not handled at the end of the load
	Drain       float64 `json:"drain_s"`            // from the end of the load to the last message
	DrainRatio  float64 `json:"drain_ratio"`        // to backlog x handler
	Handler     float64 `json:"handler_ms"`         // mean time of a hot key's handler in the drain
	Direct      float64 `json:"direct_after_ms"`    // from the last message until no key is diverted
	Left        int     `json:"left"`               // messages that are not handled in the end; mode pause does not wait for its backlog
	StoreLeft   int     `json:"strands_left"`       // in the store, in the end
	Violations  int     `json:"order_violations"`   // in all rounds
	Late        float64 `json:"writer_late_max_ms"` // how late the latest message was written, which the latencies include
	Goal        string  `json:"goal"`
}

// hotScenario is a load in one mode.
type hotScenario struct {
	name string
	load load
	mode string
}

// hotKeys measures the latencies of cold keys in an open loop, without hot keys and beside some, in each mode. It fails if
// a message is lost or out of order.
func hotKeys(ctx context.Context, r *run) error {
	const workers, handler = 64, 5 * time.Millisecond
	const capacity = int(time.Second / handler) // of one key, in messages a second
	base := load{Cold: r.rate, Warm: pick(r, 3*time.Second, time.Second), Lasts: pick(r, r.load, time.Second)}
	var all []hotScenario
	for _, mode := range []string{pauseMode, spillMode, batchMode} {
		for _, s := range []struct {
			name        string
			hot, excess int
		}{{"no hot key", 0, 0}, {"one key at 10x its capacity", 1, 10}, {"20 keys at 3x", 20, 3}} {
			l := base
			l.Hot, l.HotRate = s.hot, s.excess*capacity
			all = append(all, hotScenario{s.name, l, mode})
		}
	}
	k, err := kafkabench.New(r.kafka.Brokers, largeBatches, kgo.ProducerLinger(time.Millisecond)) // without it the broker needs a core for requests of one message
	if err != nil {
		return err
	}
	defer func() {
		_ = k.Forget(context.WithoutCancel(ctx)) // topics that stay change no figure
		k.Close()
	}()
	once := func(s hotScenario) (hotRun, error) {
		m := hotMembership{Brokers: k.Brokers, Mode: s.mode, Load: s.load, Workers: workers, Handler: handler, Patience: pick(r, 10*time.Second, 2*time.Second)}
		if s.mode != pauseMode { // its backlog is in Kafka: only the rate at which it is handled is measured
			m.Patience += 20*time.Second + 2*s.load.Lasts*time.Duration(s.load.HotRate)/time.Duration(capacity)
		}
		fmt.Fprintf(os.Stderr, "hotkeys: %s, mode %s\n", s.name, s.mode) // the table comes last
		return playHot(ctx, k, m)
	}
	if !r.short { // a broker's first load is slower
		if _, err := once(all[0]); err != nil {
			return err
		}
	}
	runs, err := bench.Alternate(pick(r, r.rounds, 1), len(all), nil, func(_, i int) (hotRun, error) { return once(all[i]) })
	if err != nil {
		return err
	}
	t := bench.NewTable("hot keys in an open loop", r.json)
	var errs []error
	for i, s := range all {
		without, lane := i-i%3, 1 // the same mode without hot keys; one hot key in mode pause, whose lane is never empty
		row := s.row(runs[i])
		row.Ratio = ratio(runs[i], runs[without], func(res hotRun) float64 { return res.P99 })
		if s.load.Hot > 0 {
			row.HotOfLane = ratio(runs[i], runs[lane], func(res hotRun) float64 { return res.LoadRate })
		}
		if s.load.Hot > 0 && s.mode != batchMode { // which leaves nothing to drain
			row.Drained = ratio(runs[i], nil, func(res hotRun) float64 { return res.DrainRate })
			row.DrainOfLane = ratio(runs[i], runs[lane], func(res hotRun) float64 { return res.DrainRate })
		}
		t.Row(row)
		if row.Violations > 0 || s.mode != pauseMode && row.Left+row.StoreLeft > 0 {
			errs = append(errs, fmt.Errorf("%s, mode %s: %d messages out of order, %d not handled, %d strands left in the store", s.name, s.mode, row.Violations, row.Left, row.StoreLeft))
		}
	}
	return errors.Join(errs...)
}

func (s hotScenario) row(runs []hotRun) hotKeysRow {
	median := func(figure func(hotRun) float64) float64 { return ratio(runs, nil, figure) }
	row := hotKeysRow{
		Part: "hotkeys", Run: s.name, Mode: s.mode, Cold: s.load.Cold, Hot: s.load.Hot * s.load.HotRate, Seconds: s.load.Lasts.Seconds(),
		P50:     median(func(res hotRun) float64 { return res.P50 }),
		P99:     median(func(res hotRun) float64 { return res.P99 }),
		Max:     median(func(res hotRun) float64 { return res.Max }),
		Appends: median(func(res hotRun) float64 { return float64(res.Appended) / s.load.Lasts.Seconds() }),
		HotRate: median(func(res hotRun) float64 { return res.LoadRate }),
		Drained: median(func(res hotRun) float64 { return res.DrainRate }),
		Backlog: median(func(res hotRun) float64 { return float64(res.Backlog) }),
		Handler: median(func(res hotRun) float64 { return res.Handler }),
		Direct:  median(func(res hotRun) float64 { return res.Direct }),
		Late:    median(func(res hotRun) float64 { return res.Late }),
	}
	for _, res := range runs {
		row.Unhandled += res.Unhandled
		row.Left += res.Left
		row.StoreLeft += res.StoreLeft
		row.Violations += res.Violations
	}
	if s.mode == pauseMode || s.load.Hot == 0 {
		return row
	}
	row.Drain = median(func(res hotRun) float64 { return res.Drain })
	row.Goal = "p99_ratio <= 1.2, cold_unhandled 0, appends_per_s 0"
	if s.mode == spillMode {
		row.Direct = median(func(res hotRun) float64 { return res.Direct })
		row.DrainRatio = median(func(res hotRun) float64 { return res.Drain * 1e3 / max(1, float64(res.Backlog)*res.Handler) })
		row.Goal = "p99_ratio <= 1.2, cold_unhandled 0, drain_ratio <= 1.1, hot_key_of_lane and drain_of_lane >= 0.95"
	}
	return row
}

// ratio returns the median of a figure over the rounds: of runs, divided by that of others in the same round unless others is
// nil. A ratio to 0 counts as 0.
func ratio(runs, others []hotRun, figure func(hotRun) float64) float64 {
	figures := make([]float64, len(runs))
	for round := range runs {
		figures[round] = figure(runs[round])
		if others == nil {
			continue
		}
		if of := figure(others[round]); of > 0 {
			figures[round] /= of
		} else {
			figures[round] = 0
		}
	}
	return bench.Median(figures)
}

// hotRun is a hotResult and how late the writer was.
type hotRun struct {
	hotResult
	Late float64 // ms
}

// playHot runs a member on a new topic and writes the load.
func playHot(ctx context.Context, k *kafkabench.Kafka, m hotMembership) (res hotRun, err error) {
	if m.Topic, err = k.Fill(ctx, partitions, 0, nil); err != nil {
		return res, err
	}
	m.Group = m.Topic
	p, err := bench.Start(ctx, "hotmember", m)
	if err != nil {
		return res, err
	}
	out := json.NewDecoder(p.Out)
	var ready string
	if err := out.Decode(&ready); err != nil {
		return res, fmt.Errorf("start member: %w", err)
	}
	as, start := m.Load.arrivals(), time.Now().Add(100*time.Millisecond)
	late, err := k.Play(ctx, m.Topic, len(as),
		func(i int) time.Time { return start.Add(as[i].due) },
		func(i int) (int32, []byte, []byte) { return as[i].record(start) })
	if err != nil {
		return res, err
	}
	res.Late = float64(late) / 1e6
	if err := out.Decode(&res.hotResult); err != nil {
		return res, fmt.Errorf("member: %w", err)
	}
	return res, p.Stop()
}
