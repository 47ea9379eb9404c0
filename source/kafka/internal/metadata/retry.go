package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/internal/pause"
)

// NewBackoff returns the delays between attempts. The first are short, since most failures are a leader that moves.
func NewBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(30*time.Millisecond),
		backoff.WithMultiplier(1.7),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0),
	)
}

// reportAfter is how long an operation is retried before that is reported: a leader that moves takes less.
const reportAfter = time.Second

// retry calls f until it succeeds, its error is fatal, or ctx ends. An unknown topic or partition is fatal after GoneAfter.
// It reports what to the Client, once what has failed for reportAfter.
func (c *Client) retry(ctx context.Context, what string, f func() error) error {
	bo := NewBackoff()
	begun := time.Now()
	reported := false
	for {
		err := f()
		if err == nil {
			if reported {
				c.Report(ctx, what, nil)
			}
			return nil
		}
		if c.Report != nil && time.Since(begun) >= reportAfter && !errors.Is(err, errUnheard) && ctx.Err() == nil {
			reported = true
			c.Report(ctx, what, err)
		}
		if errors.Is(err, kafka.UnknownTopicOrPartition) && time.Since(begun) >= GoneAfter {
			err = fmt.Errorf("%w (%w)", ErrUnknownTopic, err)
		}
		if Fatal(err) {
			return err
		}
		if pause.For(ctx, bo.NextBackOff()) != nil {
			return fmt.Errorf("%w; last error: %w", context.Cause(ctx), err)
		}
	}
}
