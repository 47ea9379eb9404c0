package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// watchTime is how long a real server is read.
const watchTime = 30 * time.Second

// watch reads the binary log of a real server in this process.
type watch struct {
	dsn   string
	start mysql.Start
	slow  string // stream of the slow table; empty: none
	out   *show.Output
}

// watched is what was seen of a real server. Lags are in the numbers of the source.
type watched struct {
	Rows     int64   `json:"rows"`
	Tables   int     `json:"tables"`
	PerS     float64 `json:"per_s"`
	SlowLag  int64   `json:"slow_table_lag"`
	OtherLag int64   `json:"other_tables_lag"` // the largest

	standings []pipeline.PartitionSnapshot
}

// run reads until ctx ends, or for watchTime.
func (w *watch) run(ctx context.Context) (r watched, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	folder, err := os.MkdirTemp("", "drc-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	db, store, err := openStore(ctx, filepath.Join(folder, "progress"))
	if err != nil {
		return r, err
	}
	defer func() { _ = db.Close() }() // the file is removed
	src, err := w.open(store)
	if err != nil {
		return r, err
	}
	var handled atomic.Int64
	p, err := service{slow: w.slow}.pipeline(src, func(ctx context.Context, _ *keystrand.Message) error {
		err := pause(ctx)
		if err == nil {
			handled.Add(1)
		}
		return err
	})
	if err != nil {
		return r, err
	}
	w.out.Line("Reading the server for %v, or until it is interrupted. Each change takes %v, with %d workers.", watchTime, handlerTime, workers)
	began, ended := time.Now(), make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for tick := time.NewTicker(reports); ; {
		select {
		case <-tick.C:
			r.standings = p.Snapshot().Partitions
			w.show(r.standings)
			continue
		case err = <-ended:
			tick.Stop()
		}
		if ctx.Err() == nil || err != nil && !errors.Is(err, context.Cause(ctx)) {
			return r, err
		}
		r.count(w.slow, handled.Load(), time.Since(began))
		return r, nil
	}
}

func (w *watch) show(standings []pipeline.PartitionSnapshot) {
	var lines []string
	for _, t := range standings {
		lines = append(lines, fmt.Sprintf("%-32s %9d changes   position %9d   lag %8d", t.ID.Stream, t.Settled, t.Frontier, t.Lag))
	}
	w.out.Block(lines)
}

// open returns the source of the server.
func (w *watch) open(store commit.Store) (source.Source, error) {
	c, err := driver.ParseDSN(w.dsn)
	if err != nil {
		return nil, errors.New("-mysql: want user:password@tcp(host:port)/") // the reason may have the password
	}
	var tables []string
	if c.DBName != "" {
		tables = []string{c.DBName + ".*"}
	}
	return mysql.New(c.Addr, tables, store, mysql.Config{
		User: c.User, Password: c.Passwd, TLS: c.TLS, Start: w.start, Logger: logger(),
	})
}

// count fills in the figures.
func (r *watched) count(slow string, handled int64, took time.Duration) {
	r.Rows, r.Tables, r.PerS = handled, len(r.standings), float64(handled)/took.Seconds()
	for _, t := range r.standings {
		if t.ID.Stream == slow {
			r.SlowLag = t.Lag
		} else {
			r.OtherLag = max(r.OtherLag, t.Lag)
		}
	}
}

func (r watched) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

func (r watched) writeText(w io.Writer) error {
	for _, t := range r.standings {
		if _, err := fmt.Fprintf(w, "%-32s%10d changes   position %9d   lag %8d\n", t.ID.Stream, t.Settled, t.Frontier, t.Lag); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%d changes of %d tables, %.0f a second\n", r.Rows, r.Tables, r.PerS)
	return err
}
