// Command quickstart shows what keystrand does for a service with a handler of 50 ms.
//
// It fills a topic with comments on posts, some posts with far more than others, and reads it twice: with one ordered
// consumer for each partition, then with keystrand and 100 workers. Halfway through the second reading it kills the
// reading process with kill -9 and starts another. At the end it prints a table: the throughput, how long the kill
// interrupted the work, and whether any message was lost, out of order, or handled again.
//
//	go run ./examples/quickstart                          # an embedded broker; needs nothing but Go
//	go run ./examples/quickstart -brokers localhost:9092  # a real Kafka
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/examples/internal/kafkabroker"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// sessionTimeout is how long the partitions of a killed process stay without an owner.
const sessionTimeout = 6 * time.Second

func main() {
	brokers := flag.String("brokers", "", "addresses host:port of a real Kafka, separated by commas (default: start an embedded broker)")
	// The demo fills a topic of the Broker. It starts this program again to Read it, so that it can kill that process.
	show.Main(flag.CommandLine, show.Demo{
		Broker: func() (show.Broker, error) { return kafkabroker.New(*brokers, sessionTimeout) },
		Read: func(ctx context.Context, m show.Member) error {
			src, err := open(*brokers, m.Group, m.Topic)
			if err != nil {
				return err
			}
			return read(ctx, src, m.Workers, m.Key)
		},
	})
}

// open returns the source of the messages.
func open(brokers, group, topic string) (source.Source, error) {
	return kafka.New(strings.Split(brokers, ","), group, []string{topic}, kafka.Config{
		SessionTimeout: sessionTimeout,
		Logger:         logger(),
	})
}

// read is the service. It returns when ctx ends and the messages in progress are handled and committed.
func read(ctx context.Context, src source.Source, workers int, key keystrand.KeyFunc) error {
	p, err := pipeline.From(src).
		Use(middleware.Retry(middleware.RetryPolicy{}), middleware.Timeout(5*time.Second)).
		HandleFunc(saveComment).
		Key(key).
		OnFailure(pipeline.BlockFor(time.Second, time.Minute)). // a post whose comment keeps failing waits and is retried; the others go on
		Limits(pipeline.Limits{Workers: workers}).
		Logger(logger()).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// saveComment handles one message. It stands for calls to other services, and reports to the demo.
func saveComment(ctx context.Context, m *keystrand.Message) error {
	show.Begins(m)
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	show.Ends(m)
	return nil
}

// logger writes errors to standard error.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
