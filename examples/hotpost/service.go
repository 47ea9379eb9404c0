package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

const (
	workers     = 64
	handlerTime = 5 * time.Millisecond

	// inFlight is how many comments may be in memory. It has room for those that come while a busy disk stores the ones before.
	inFlight = 4_000

	// sessionTimeout is how long the partitions of a killed process stay without an owner.
	sessionTimeout = 6 * time.Second
)

// service reads comments and saves them.
type service struct {
	brokers string
	topic   string
	group   string
	store   string // file of the log of hot posts; empty: there is no log
	batches bool   // handle the waiting comments of a post together
}

// run returns when ctx ends and the comments in progress are handled and committed.
func (s service) run(ctx context.Context) error {
	src, err := kafka.New(strings.Split(s.brokers, ","), s.group, []string{s.topic}, kafka.Config{
		Alone:          true, // the log of hot posts is a file, so another machine could not read it
		SessionTimeout: sessionTimeout,
		Logger:         logger(),
	})
	if err != nil {
		return err
	}
	b := pipeline.From(src).
		Limits(pipeline.Limits{Workers: workers, InFlight: inFlight}).
		OnFailure(pipeline.BlockFor(time.Second, time.Minute)).
		Logger(logger())
	if s.batches {
		b.HandleBatchFunc(saveComments)
	} else {
		b.HandleFunc(saveComment)
	}
	if s.store != "" {
		store, err := bolt.New(s.store, bolt.Config{})
		if err != nil {
			return err
		}
		defer func() { _ = store.Close() }() // what it has reported as durable is on the disk
		b.Divert(store)
	}
	p, err := b.Build()
	if err != nil {
		return err
	}
	go reportDepth(ctx, p)
	return p.Run(ctx)
}

// saveComment handles one comment. It stands for a call of a database, and reports to the demo.
func saveComment(ctx context.Context, m *keystrand.Message) error {
	show.Begins(m)
	if err := pause(ctx); err != nil {
		return err
	}
	show.Ends(m)
	return nil
}

// saveComments handles the waiting comments of one post with one call of the database.
func saveComments(ctx context.Context, ms []*keystrand.Message) error {
	show.Begins(ms[0])
	if err := pause(ctx); err != nil {
		return err
	}
	show.Ends(ms...)
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

// logger writes errors to standard error.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
