// Command quickstart shows what keystrand does for a service whose handler takes 50 ms a message.
//
// It starts an embedded broker, fills a topic with comments of posts (some posts get far more than others), and reads
// it twice: with one ordered consumer a partition, then with keystrand and 100 workers. In the middle of the second
// reading it kills the process that reads (kill -9, so there is no last commit) and starts another. At the end it
// prints a table: throughput, and whether anything was lost, out of order, or handled again.
//
//	go run ./examples/quickstart                          # needs nothing but Go
//	go run ./examples/quickstart -brokers localhost:9092  # on a real Kafka
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

// read is the service: the part to copy.
func read(ctx context.Context, brokers []string, group, topic string, workers int, key keystrand.KeyFunc) error {
	src, err := kafka.New(brokers, group, []string{topic}, kafka.Config{
		SessionTimeout: 6 * time.Second, // so soon the partitions of a killed process go to another
		Logger:         logger(),
	})
	if err != nil {
		return err
	}
	p, err := pipeline.From(src).
		Use(middleware.Retry(middleware.RetryPolicy{}), middleware.Timeout(5*time.Second)).
		Handle(keystrand.HandlerFunc(saveComment)).
		Key(key).
		OnFailure(pipeline.Block).
		Limits(pipeline.Limits{Workers: workers}).
		Logger(logger()).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx) // until ctx ends: then it drains, commits and leaves
}

// saveComment stands for calls to other services. It tells the process that checks when it begins and ends.
func saveComment(ctx context.Context, m *keystrand.Message) error {
	tell('s', m)
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	tell('e', m)
	return nil
}

func main() {
	brokers := flag.String("brokers", "", "addresses of a real Kafka, separated by commas; none: an embedded broker")
	asJSON := flag.Bool("json", false, "print the table as one JSON object")
	messages := flag.Int("messages", 12_000, "comments in the topic")
	member := flag.String("member", "", "run as a member of this group; the quickstart starts itself so")
	topic := flag.String("topic", "", "with -member: the topic to read")
	baseline := flag.Bool("baseline", false, "with -member: keep the order of whole partitions")
	flag.Parse()

	var err error
	if *member == "" {
		err = show(*brokers, *messages, *asJSON)
	} else {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // standard input ends when the quickstart has seen enough, or has died
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		workers, key := 100, keystrand.KeyFunc(keystrand.ByKey)
		if *baseline {
			workers, key = partitions, keystrand.ByPartition
		}
		err = read(ctx, strings.Split(*brokers, ","), *member, *topic, workers, key)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// logger tells on standard error what is worth a look.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
