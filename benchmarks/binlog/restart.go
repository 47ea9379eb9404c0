package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

type restartRow struct {
	Part     string  `json:"part"`
	Log      string  `json:"log"`
	Tables   int     `json:"tables"`
	Behind   int     `json:"rows_behind"` // of one table
	Live     float64 `json:"live_ms"`     // until all other tables have handled a new row
	Server   float64 `json:"server_ms"`   // until a loop of go-mysql has the first new row, measured afterwards
	Replayed int     `json:"replayed"`    // rows of the other tables that were handled before
	Caught   float64 `json:"caught_up_s"` // until the table has handled all its rows
	Goal     string  `json:"goal"`
}

// restart starts a pipeline with 49 tables that have handled all their rows, and one that has handled none of its own.
func restart(ctx context.Context, r *run, p binlogbench.Primary) error {
	const count, each = 50, 100
	t := bench.NewTable("restart: one table far behind 49 others", r.json)
	names, behind := numbered(count), pick(r, 1_000_000, 600_000) // what is less than 500,000 rows is not read apart
	slow, others := names[0], names[1:]
	from, err := fill(ctx, p, 1, binlogbench.Load{Tables: names, Rows: 10 * count, Transaction: 10, Value: rowBytes})
	if err != nil {
		return err
	}
	for _, l := range []binlogbench.Load{
		{Tables: []string{slow}, Rows: behind - 10, Transaction: 1000, Value: rowBytes},
		{Tables: others, Rows: (each - 10) * len(others), Transaction: 10, Value: rowBytes},
	} {
		if err := p.Write(ctx, l); err != nil {
			return err
		}
	}
	store := binlogbench.NewStore()
	begin := func(ctx context.Context, wrap func(source.Source) source.Source, handle func(other bool)) error {
		src, err := open(p.Client(), from, names, store, nil)
		if err != nil {
			return err
		}
		slowStream := p.Client().Database + "." + slow
		pl, err := pipeline.From(wrap(src)).HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			handle(m.Stream != slowStream)
			return nil
		}).Build()
		if err != nil {
			return err
		}
		return pl.Run(ctx)
	}

	before, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	var handled atomic.Int64
	if err := begin(before,
		func(s source.Source) source.Source { return withholding{s, p.Client().Database + "." + slow} },
		func(bool) {
			if handled.Add(1) == int64(each*len(others)) {
				stop()
			}
		}); err != nil {
		return err
	}
	if n := handled.Load(); n != int64(each*len(others)) {
		return fmt.Errorf("%d rows handled before the restart, want %d", n, each*len(others))
	}

	place, err := p.Place(ctx)
	if err != nil {
		return err
	}
	if err := p.Write(ctx, binlogbench.Load{Tables: others, Rows: len(others), Transaction: 1, Value: rowBytes}); err != nil {
		return err
	}
	again, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	began := time.Now()
	var news, olds, live, caught atomic.Int64
	over := func() {
		if live.Load() > 0 && caught.Load() > 0 {
			stop()
		}
	}
	if err := begin(again, func(s source.Source) source.Source { return s }, func(other bool) {
		switch {
		case other && news.Add(1) == int64(len(others)):
			live.Store(int64(time.Since(began)))
			over()
		case !other && olds.Add(1) == int64(behind):
			caught.Store(int64(time.Since(began)))
			over()
		}
	}); err != nil {
		return err
	}
	server, err := firstRow(ctx, reading{Client: p.Client(), From: place, Tables: others, Rows: 1})
	if err != nil {
		return err
	}
	row := restartRow{
		Part: "restart", Log: r.log, Tables: count, Behind: behind, Live: float64(live.Load()) / 1e6, Server: float64(server) / 1e6,
		Replayed: int(news.Load()) - len(others), Caught: float64(caught.Load()) / 1e9, Goal: "live_ms <= 2000, replayed = 0",
	}
	t.Row(row)
	if row.Replayed != 0 || row.Live == 0 || olds.Load() != int64(behind) {
		return fmt.Errorf("%d rows of the table behind, want %d; %d of the others, want %d", olds.Load(), behind, news.Load(), len(others))
	}
	return nil
}

// firstRow returns how long a loop of go-mysql waits for its first row. A server reads a file of its log from the beginning to
// find a GTID.
func firstRow(ctx context.Context, s reading) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	err := (&reader{reading: s, over: cancel}).bare(ctx)
	return time.Since(began), err
}

// withholding is a source that fetches nothing of one stream.
type withholding struct {
	source.Source
	stream string
}

// Key keeps the order of the source.
func (s withholding) Key(m *keystrand.Message) (keystrand.Key, error) {
	return s.Source.(source.Keyer).Key(m) //nolint:errcheck // it is one
}

// Accept implements source.Source.
func (s withholding) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err == nil && p.ID().Stream == s.stream {
		p = withheld{p}
	}
	return p, err
}

type withheld struct{ source.Partition }

// Fetch waits for the end of ctx.
func (withheld) Fetch(ctx context.Context, _ *source.Batch) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// Commit stores nothing, since the frontier never moves.
func (p withheld) Commit(_ context.Context, progress *commit.Progress) (commit.Stored, error) {
	return commit.Stored{Frontier: progress.Frontier}, nil
}
