// Command quickstart-pulsar shows what keystrand does for a service with a handler of 50 ms, on a real Pulsar. The
// quickstart shows the same on Kafka.
//
// It fills a topic with comments on posts, some posts with far more than others, and reads it twice: with one ordered
// consumer for each partition, then with keystrand and 100 workers. Halfway through the second reading it kills the
// reading process with kill -9 and starts another. At the end it prints a table: the throughput, how long the kill
// interrupted the work, and whether any message was lost, out of order, or handled again.
//
//	go run ./examples/quickstart-pulsar  # a Pulsar on this machine
//	go run ./examples/quickstart-pulsar -url pulsar://broker:6650 -admin http://broker:8080
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar"
)

func main() {
	url := flag.String("url", "pulsar://localhost:6650", "URL of the Pulsar")
	admin := flag.String("admin", "", "URL of Pulsar's web service (default http://HOST:8080)")
	// The demo fills a topic of the Broker. It starts this program again to Read it, so that it can kill that process.
	show.Main(flag.CommandLine, show.Demo{
		Broker: func() (show.Broker, error) { return newBroker(*url, *admin) },
		Read: func(ctx context.Context, m show.Member) error {
			src, err := open(*url, m.Group, m.Topic)
			if err != nil {
				return err
			}
			return read(ctx, src, m.Workers, m.Key)
		},
	})
}

// open returns the source of the messages.
func open(url, group, topic string) (source.Source, error) {
	return pulsar.New(url, group, []string{topic}, pulsar.Config{Logger: logger()})
}

// read is the service. It returns when ctx ends and the messages in progress are handled and committed.
func read(ctx context.Context, src source.Source, workers int, key keystrand.KeyFunc) error {
	p, err := pipeline.From(src).
		Use(middleware.Retry(middleware.RetryPolicy{}), middleware.Timeout(5*time.Second)).
		Handle(keystrand.HandlerFunc(saveComment)).
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
