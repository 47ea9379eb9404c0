package main

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/middleware/ratelimit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/drc"
)

const (
	workers     = 100
	handlerTime = 20 * time.Millisecond
	slowRate    = 20 // changes of the slow table a second

	// A statement waits for a commit, and so do the rows behind it.
	commitInterval = 250 * time.Millisecond
)

// service applies the changes of rows to another system.
type service struct {
	url    string
	topics []string
	store  string // file with the progress
	slow   string // stream of the slow table; empty: none
}

// run returns when ctx ends and the changes in progress are handled and committed.
func (s service) run(ctx context.Context) error {
	db, store, err := openStore(ctx, s.store)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // what it has reported as durable is on the disk
	src, err := drc.New(s.url, s.topics, store, drc.Config{Timeout: 3 * time.Second, Logger: logger()})
	if err != nil {
		return err
	}
	p, err := s.pipeline(src, apply)
	if err != nil {
		return err
	}
	go reportTables(ctx, p)
	return p.Run(ctx)
}

// pipeline returns the pipeline from a source of rows. They are in order by their primary and unique keys: that is the source's key.
func (s service) pipeline(src source.Source, handle keystrand.HandlerFunc) (*pipeline.Pipeline, error) {
	return pipeline.From(src).
		Use(middleware.Retry(middleware.RetryPolicy{}), ratelimit.By(stream, s.limit), middleware.Timeout(5*time.Second)).
		Handle(handle).
		OnFailure(pipeline.BlockFor(time.Second, time.Minute)).
		Limits(pipeline.Limits{Workers: workers}).
		Timing(pipeline.Timing{CommitInterval: commitInterval}).
		Logger(logger()).
		Build()
}

// apply handles one change. It stands for a statement in another database, and reports to the demo.
func apply(ctx context.Context, m *keystrand.Message) error {
	transaction, index, err := placeOf(m)
	if err != nil {
		return err
	}
	report('b', m, transaction, index)
	if err := pause(ctx); err != nil {
		return err
	}
	report('e', m, transaction, index)
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(handlerTime):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// placeOf returns the transaction of a row or a statement, and the number of the row in it.
func placeOf(m *keystrand.Message) (transaction string, index int, err error) {
	statement, err := binlog.DDLOf(m)
	if err != nil {
		return "", 0, err
	}
	if statement != nil {
		return statement.Transaction, 0, nil
	}
	row, err := binlog.RowOf(m)
	if err != nil {
		return "", 0, err
	}
	return row.Transaction, row.Index, nil
}

func stream(m *keystrand.Message) string { return m.Stream }

// limit returns the limit of a table. Its changes wait without a worker.
func (s service) limit(stream string) *rate.Limiter {
	if stream != s.slow {
		return nil
	}
	return rate.NewLimiter(slowRate, 1)
}

// openStore opens the progress in an SQLite file.
func openStore(ctx context.Context, file string) (*sql.DB, *commitsql.Store, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, nil, err
	}
	store, err := commitsql.New(db, commitsql.SQLite, "example", commitsql.Config{})
	if err == nil {
		err = store.Create(ctx)
	}
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return db, store, nil
}

// logger writes errors to standard error.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
