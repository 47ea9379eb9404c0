package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/pipeline"
)

type idleRow struct {
	Part         string  `json:"part"`
	Log          string  `json:"log"`
	Tables       int     `json:"idle_tables"`
	Seconds      float64 `json:"seconds"`
	Rows         float64 `json:"rows_per_s"` // of the busy table
	Saves        float64 `json:"saves_per_s"`
	Transactions float64 `json:"transactions_per_s"` // of the store, with Saves
	CPU          float64 `json:"cpu_ms_per_s"`       // of this process, with the stub if there is one
	Goal         string  `json:"goal"`
}

// idle counts the commits of many tables without rows beside a busy one. Progress is in an SQLite file.
func idle(ctx context.Context, r *run, p binlogbench.Primary) (err error) {
	const count, perTransaction, every = 1_000, 10, 10 * time.Millisecond
	t := bench.NewTable("idle: tables without rows beside a busy one, a commit a second", r.json)
	if err := p.Create(ctx, 1, append(numbered(count), "busy")...); err != nil {
		return err
	}
	from, err := p.Place(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "keystrand-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var transactions atomic.Int64
	db, err := driver.Open("file:"+filepath.Join(dir, "progress.db")+"?_pragma=busy_timeout(10000)", func(c *sqlite3.Conn) error {
		c.CommitHook(func() bool {
			transactions.Add(1)
			return true
		})
		return nil
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	stored, err := commitsql.New(db, commitsql.SQLite, "idle", commitsql.Config{})
	if err != nil {
		return err
	}
	if err := stored.Create(ctx); err != nil {
		return err
	}
	store := &savesCounted{Store: stored}
	src, err := open(p.Client(), from, []string{"*"}, store, nil)
	if err != nil {
		return err
	}
	var rows atomic.Int64
	pl, err := pipeline.From(src).HandleFunc(func(context.Context, *keystrand.Message) error {
		rows.Add(1)
		return nil
	}).Build()
	if err != nil {
		return err
	}

	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- pl.Run(running) }()
	go func() {
		l := binlogbench.Load{Tables: []string{"busy"}, Rows: perTransaction, Transaction: perTransaction, Value: rowBytes}
		for running.Err() == nil {
			if err := p.Write(running, l); err != nil && running.Err() == nil {
				ended <- fmt.Errorf("write rows: %w", err)
				return
			}
			time.Sleep(every)
		}
		ended <- nil
	}()
	for len(pl.Snapshot().Partitions) < count+1 && len(ended) == 0 && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(3 * time.Second) // the commits of the start
	saves, commits, handled, cpu, began := store.saves.Load(), transactions.Load(), rows.Load(), bench.CPUTime(), time.Now()
	select {
	case <-time.After(time.Duration(pick(r, 60, 20)) * time.Second):
	case err := <-ended:
		return errors.Join(fmt.Errorf("ended too early: %w", err), context.Cause(ctx))
	}
	seconds := time.Since(began).Seconds()
	row := idleRow{
		Part: "idle", Log: r.log, Tables: count, Seconds: seconds, Rows: float64(rows.Load()-handled) / seconds,
		Saves: float64(store.saves.Load()-saves) / seconds, Transactions: float64(transactions.Load()-commits) / seconds,
		CPU: float64((bench.CPUTime() - cpu).Milliseconds()) / seconds, Goal: "saves_per_s <= 110, transactions_per_s <= 2",
	}
	stop()
	if err := errors.Join(<-ended, <-ended); err != nil {
		return err
	}
	t.Row(row)
	return nil
}

// savesCounted is a store that counts Saves.
type savesCounted struct {
	commit.Store
	saves atomic.Int64
}

// Save implements commit.Store.
func (s *savesCounted) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	s.saves.Add(1)
	return s.Store.Save(ctx, stream, partition, p)
}
