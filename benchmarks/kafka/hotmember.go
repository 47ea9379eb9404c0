package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// Modes of hotMember.
const (
	pauseMode = "pause" // no store: the partition of a hot key waits
	spillMode = "spill" // a store
	batchMode = "batch" // a store, and a handler of batches
)

// hotMembership has the arguments of hotMember, which handles a load.
type hotMembership struct {
	Brokers  []string
	Topic    string
	Group    string
	Mode     string
	Load     load
	Workers  int
	Handler  time.Duration
	Patience time.Duration // how long to wait for the backlog after the load
}

// hotResult is what hotMember has seen.
type hotResult struct {
	P50, P99, Max float64 // ms: latencies of measured messages, one second after the load
	Measured      int
	Unhandled     int     // of them
	Appended      int64   // to the store, by the end of the load
	LoadRate      float64 // messages a second of the first hot key in the last three quarters of the load
	DrainRate     float64 // and after it
	Backlog       int     // messages of one hot key, at most, at the end of the load
	Handler       float64 // ms: mean time of a handler of a hot key after the load
	Drain         float64 // seconds from the end of the load to the last message
	Direct        float64 // ms from the last message until no key is diverted, if that took longer than the load; -1: never
	Left          int     // messages that are not handled in the end
	StoreLeft     int     // strands in the store then
	Violations    int     // of order
}

// hotMember prints "ready" when it has all partitions, and its result after the load.
func hotMember(ctx context.Context, s hotMembership) error {
	run, stop := context.WithCancel(ctx)
	defer stop()
	src, err := kafka.New(s.Brokers, s.Group, []string{s.Topic}, kafka.Config{Alone: true})
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "hotkeys")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "spill.db")
	store, err := bolt.New(path, bolt.Config{})
	if err != nil {
		return err
	}
	count := newHotCount(s.Load)
	p, err := s.pipeline(bench.Gather(&rejoins{Source: src, once: true}, partitions, func() { _ = bench.Answer("ready") }), store, count)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(run)
		close(ended) // watch may have received the error
	}()
	res, err := s.watch(ctx, p, count, ended)
	stop()
	if err = errors.Join(err, <-ended, store.Close()); err != nil {
		return err
	}
	if res.StoreLeft, err = strandsIn(ctx, path, s.Topic); err != nil {
		return err
	}
	return bench.Answer(res)
}

func (s hotMembership) pipeline(src source.Source, store spill.Store, count *hotCount) (*pipeline.Pipeline, error) {
	handle := func(ms ...*keystrand.Message) {
		began := time.Now()
		as := make([]arrival, len(ms))
		var start time.Time
		for i, m := range ms {
			as[i], start = readArrival(m.Value)
		}
		count.begin(as, start)
		time.Sleep(s.Handler)
		count.end(as, began)
	}
	b := pipeline.From(src)
	if s.Mode == batchMode {
		b = b.HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
			handle(ms...)
			return nil
		})
	} else {
		b = b.HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			handle(m)
			return nil
		})
	}
	if s.Mode != pauseMode {
		b = b.Divert(store)
	}
	return b.Limits(pipeline.Limits{Workers: s.Workers, MaxBatch: 64}).Timing(pipeline.Timing{DrainTimeout: time.Second}).Build()
}

// watch waits for the load and the backlog it leaves.
func (s hotMembership) watch(ctx context.Context, p *pipeline.Pipeline, count *hotCount, ended <-chan error) (res hotResult, err error) {
	wait := func(ch <-chan struct{}, until time.Time) {
		select {
		case <-ch:
		case <-time.After(time.Until(until)):
		case err = <-ended:
			err = errors.Join(errors.New("the pipeline ended before the load"), err)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if wait(count.begun, time.Now().Add(time.Minute)); err != nil {
		return res, err
	}
	end := count.ends()
	if wait(nil, end); err != nil {
		return res, err
	}
	res.Appended = p.Snapshot().Diverting.Appended
	_, res.Backlog = count.backlog()
	if wait(nil, end.Add(time.Second)); err != nil {
		return res, err
	}
	latencies, unhandled := count.coldLatencies()
	res.P50, res.P99, res.Max = quantile(latencies, 0.5), quantile(latencies, 0.99), quantile(latencies, 1)
	res.Measured, res.Unhandled = len(latencies), unhandled
	res.Direct, res.Left = -1, 1
	for time.Since(end) < s.Patience && res.Direct < 0 && err == nil {
		res.Left, _ = count.backlog()
		last, handler := count.drained()
		res.Handler, res.Drain = float64(handler)/1e6, last.Sub(end).Seconds()
		if res.Left == 0 && p.Snapshot().Diverting.Strands == 0 {
			res.Direct = float64(time.Since(last)) / 1e6
			break
		}
		wait(nil, time.Now().Add(20*time.Millisecond))
	}
	res.LoadRate = count.hottestRate(end.Add(-s.Load.Lasts*3/4), end)
	res.DrainRate = count.hottestRate(end, time.Now())
	res.Violations = count.violated()
	return res, err
}

// strandsIn counts the strands of a topic in a file.
func strandsIn(ctx context.Context, path, topic string) (n int, err error) {
	store, err := bolt.New(path, bolt.Config{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for partition := range int32(partitions) {
		// As the owner of another log, which sees the strands of all logs, whatever their epochs.
		l, strands, err := store.Open(ctx, spill.Owner{Stream: topic, Partition: partition, Log: "none"})
		if err != nil {
			return 0, err
		}
		n += len(strands)
		if err := l.Close(); err != nil {
			return 0, err
		}
	}
	return n, nil
}
