package kafka_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// A source is usually given to a pipeline, which does all of this. The broker here is one in memory.
func Example() {
	ctx := context.Background()
	var network kfake.VirtualNetwork
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.ListenFn(network.Listen), kfake.Ports(9092))
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(network.DialContext))
	if err != nil {
		panic(err)
	}
	defer producer.Close()
	for _, v := range []string{"one", "two", "three"} {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte(v)}).FirstErr(); err != nil {
			panic(err)
		}
	}

	src, err := kafka.New([]string{"localhost:9092"}, "billing", []string{"orders"}, kafka.Config{
		StopAtEnd: true,
		Dial:      network.DialContext,
	})
	if err != nil {
		panic(err)
	}
	p, err := src.Accept(ctx)
	if err != nil {
		panic(err)
	}
	batch := &source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	for p.Fetch(ctx, batch) == nil {
		for _, m := range batch.Messages {
			fmt.Printf("%s/%d at %d: %s\n", m.Stream, m.Partition, m.Offset, m.Value)
		}
		batch.Messages = batch.Messages[:0]
	}
	// Message 1 is not settled yet: only it is redelivered after a restart.
	stored, err := p.Commit(ctx, &commit.Progress{Frontier: 1, Ahead: []commit.Range{{From: 2, To: 3}}})
	if err != nil {
		panic(err)
	}
	fmt.Println("committed up to", stored.Frontier, "and would replay", stored.Replays)
	if err := p.Release(ctx); err != nil {
		panic(err)
	}
	if err := src.Close(); err != nil {
		panic(err)
	}
	// Output:
	// orders/0 at 0: one
	// orders/0 at 1: two
	// orders/0 at 2: three
	// committed up to 1 and would replay 0
}
