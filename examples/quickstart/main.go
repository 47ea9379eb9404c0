// Command quickstart shows what keystrand does for a service whose handler takes 50 ms a message.
//
// It starts an embedded broker (or takes a real one), fills a topic with comments of posts (some posts get far more than others), and reads
// it twice: with one ordered consumer a partition, then with keystrand and 100 workers. In the middle of the second
// reading it kills the process that reads (kill -9, so there is no last commit) and starts another. At the end it
// prints a table: throughput, and whether anything was lost, out of order, or handled again.
//
//	go run ./examples/quickstart                          # needs nothing but Go
//	go run ./examples/quickstart -brokers localhost:9092  # on a real Kafka
//	go run ./examples/quickstart -pulsar pulsar://localhost:6650 -admin http://localhost:8080  # on a real Pulsar
package main

import (
	"context"
	"errors"
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
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/pulsar"
)

// open picks where the comments come from. All the rest is the same for either.
func open(at where, group, topic string) (source.Source, error) {
	if at.pulsar != "" {
		return pulsar.New(at.pulsar, group, []string{topic}, pulsar.Config{Logger: logger()})
	}
	return kafka.New(strings.Split(at.brokers, ","), group, []string{topic}, kafka.Config{
		SessionTimeout: 6 * time.Second, // so soon the partitions of a killed process go to another
		Logger:         logger(),
	})
}

// read is the service: the part to copy.
func read(ctx context.Context, src source.Source, workers int, key keystrand.KeyFunc) error {
	p, err := pipeline.From(src).
		Use(middleware.Retry(middleware.RetryPolicy{}), middleware.Timeout(5*time.Second)).
		HandleFunc(saveComment).
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
	var at where
	flag.StringVar(&at.brokers, "brokers", "", "addresses of a real Kafka, separated by commas; none: an embedded broker")
	flag.StringVar(&at.pulsar, "pulsar", "", "URL of a real Pulsar, to show it on that")
	flag.StringVar(&at.admin, "admin", "", "with -pulsar: URL of its web service (default http://HOST:8080)")
	asJSON := flag.Bool("json", false, "print the table as one JSON object")
	messages := flag.Int("messages", 12_000, "comments in the topic")
	member := flag.String("member", "", "run as a member of this group; the quickstart starts itself so")
	topic := flag.String("topic", "", "with -member: the topic to read")
	baseline := flag.Bool("baseline", false, "with -member: keep the order of whole partitions")
	flag.Parse()

	var err error
	if *member == "" {
		var b broker
		if b, err = at.broker(); err == nil {
			err = show(b, *messages, *asJSON)
		}
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
		var src source.Source
		if src, err = open(at, *member, *topic); err == nil {
			err = read(ctx, src, workers, key)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// where the broker is.
type where struct{ brokers, pulsar, admin string }

func (at where) broker() (broker, error) {
	switch {
	case at.pulsar != "" && at.brokers != "":
		return nil, errors.New("-brokers and -pulsar: want one of them")
	case at.pulsar != "":
		return newPulsar(at.pulsar, at.admin)
	}
	return newKafka(at.brokers)
}

// logger tells on standard error what is worth a look.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
