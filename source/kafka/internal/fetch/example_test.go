package fetch_test

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// One partition from its start to its end.
func ExampleReader() {
	ctx := context.Background()
	network := new(kfake.VirtualNetwork) // a broker and a network in this process
	broker, err := kfake.NewCluster(kfake.Ports(9092), kfake.ListenFn(network.Listen), kfake.SeedTopics(1, "comments"))
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.Dialer(network.DialContext))
	if err != nil {
		panic(err)
	}
	defer producer.Close()
	for _, text := range []string{"first", "second"} {
		r := &kgo.Record{Topic: "comments", Key: []byte("post-7"), Value: []byte(text)}
		if err := producer.ProduceSync(ctx, r).FirstErr(); err != nil {
			panic(err)
		}
	}

	transport := &kafka.Transport{Dial: network.DialContext, MetadataTTL: time.Second, MetadataTopics: []string{"comments"}}
	defer transport.CloseIdleConnections()
	brokers := metadata.Client{Client: wire.Client{Brokers: broker.ListenAddrs(), Transport: transport}}
	ends, err := brokers.Offsets(ctx, "comments", map[int32]metadata.Query{0: {Latest: true}})
	if err != nil {
		panic(err)
	}
	r := fetch.NewReader(fetch.Config{Cluster: brokers}, "comments", 0, 0)
	defer r.Close()
	b := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	for r.Position() < ends[0] {
		b.Messages = b.Messages[:0]
		if err := r.Read(ctx, &b); err != nil {
			panic(err)
		}
		for _, m := range b.Messages {
			fmt.Printf("%s/%d %d: %s %s\n", m.Stream, m.Partition, m.Offset, m.Key, m.Value)
		}
	}
	fmt.Println("position", r.Position())
	// Output:
	// comments/0 0: post-7 first
	// comments/0 1: post-7 second
	// position 2
}
