package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	sink "github.com/keystrand/keystrand/sink/kafka"
)

// kafkaBroker is a Kafka: a real one, or one within this process that speaks its protocol and keeps everything in memory.
type kafkaBroker struct {
	addresses []string
	embedded  *kfake.Cluster
}

// newKafka returns a real Kafka, or an embedded one if there are no addresses.
func newKafka(addresses string) (*kafkaBroker, error) {
	if addresses != "" {
		return &kafkaBroker{addresses: strings.Split(addresses, ",")}, nil
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return nil, err
	}
	return &kafkaBroker{addresses: c.ListenAddrs(), embedded: c}, nil
}

func (b *kafkaBroker) flags() []string { return []string{"-brokers", strings.Join(b.addresses, ",")} }

func (b *kafkaBroker) freed() string { return "when its session of 6 s is over" }

func (b *kafkaBroker) close() {
	if b.embedded != nil {
		b.embedded.Close()
	}
}

func (b *kafkaBroker) fill(ctx context.Context, topic string, messages int) (hottest int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addresses...))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return 0, err
	}
	s, err := sink.New(b.addresses, topic, sink.Config{})
	if err != nil {
		return 0, err
	}
	w, err := s.Open()
	if err != nil {
		return 0, err
	}
	batch := make([]keystrand.Message, 0, 1_000)
	hottest, err = draw(messages, func(key, value []byte) error {
		batch = append(batch, keystrand.Message{Key: key, Value: value, Time: time.Now()})
		if len(batch) < cap(batch) {
			return nil
		}
		err := w.Write(ctx, batch)
		batch = batch[:0]
		return err
	})
	if err == nil && len(batch) > 0 {
		err = w.Write(ctx, batch)
	}
	return hottest, errors.Join(err, w.Close(), s.Close())
}

// committed reads the group's offsets, and what their metadata says about messages beyond them.
func (b *kafkaBroker) committed(ctx context.Context, topic, group string) (func(comment) bool, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addresses...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	progress := map[int64]*commit.Progress{}
	for p, o := range offsets[topic] {
		if progress[int64(p)], err = commit.Decode(o.Metadata); err != nil {
			return nil, fmt.Errorf("committed progress of partition %d: %w", p, err)
		}
	}
	return func(c comment) bool {
		p := progress[c.partition]
		return p != nil && p.Settled(c.offset)
	}, nil
}
