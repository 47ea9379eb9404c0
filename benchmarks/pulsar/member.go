package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/pulsar"
)

// membership has the arguments of member, which handles a topic and prints the end of each message's handler.
type membership struct {
	URL          string
	Topic        string
	Subscription string
	Messages     int
	Every        int // one in so many messages is never settled; 0: all are settled
}

func member(ctx context.Context, s membership) error {
	src, err := pulsar.New(s.URL, s.Subscription, []string{s.Topic}, pulsar.Config{})
	if err != nil {
		return err
	}
	p, err := pipeline.From(src).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			n, err := strconv.Atoi(string(m.Value))
			if err != nil {
				return err
			}
			if s.Every > 0 && n%s.Every == 0 {
				return keystrand.RetryAfter(time.Hour, nil)
			}
			// A single write, so that kill -9 cuts off no line of a finished handler.
			_, _ = os.Stdout.Write(fmt.Appendf(nil, "e %d\n", n))
			return nil
		}).
		Limits(pipeline.Limits{InFlight: 2 * s.Messages}).
		Build()
	if err != nil {
		return err
	}
	if s.Every > 0 {
		go tellCommitted(ctx, p, s)
	}
	return p.Run(ctx)
}

// tellCommitted waits until all messages that can be settled are settled and committed. It then prints how many settled
// messages a crash would replay.
func tellCommitted(ctx context.Context, p *pipeline.Pipeline, s membership) {
	can := int64(s.Messages - (s.Messages+s.Every-1)/s.Every)
	var settled time.Time
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		snapshot := p.Snapshot()
		if snapshot.Settled == can && settled.IsZero() {
			settled = time.Now()
			continue
		}
		// The pipeline commits each second if anything has changed.
		if !settled.IsZero() && time.Since(settled) > 3*time.Second && len(snapshot.Partitions) == 1 && !snapshot.Partitions[0].CommittedAt.IsZero() {
			_, _ = os.Stdout.Write(fmt.Appendf(nil, "c %d\n", snapshot.Partitions[0].Replays))
			return
		}
	}
}
