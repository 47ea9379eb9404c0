package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/examples/internal/show"
	sink "github.com/keystrand/keystrand/sink/kafka"
)

// kafkaBroker is a real Kafka, or the embedded broker.
type kafkaBroker struct {
	addresses string // separated by commas; empty until the embedded broker runs
	embedded  *embedded
}

// newBroker returns the Kafka at addresses, or an embedded broker if there are none. It does not connect.
func newBroker(addresses string) (*kafkaBroker, error) {
	if addresses != "" {
		if _, err := open(addresses, "check", "check"); err != nil {
			return nil, fmt.Errorf("-brokers %q: %w; use host:port, and commas between several", addresses, err)
		}
	}
	return &kafkaBroker{addresses: addresses}, nil
}

// Start implements [show.Broker].
func (b *kafkaBroker) Start(ctx context.Context, out *show.Output) (err error) {
	if b.addresses != "" {
		out.Line("Using the Kafka at %s.", b.addresses)
		return nil
	}
	if b.embedded, err = startEmbedded(ctx, out); err != nil {
		return err
	}
	b.addresses = b.embedded.address
	return nil
}

// Flags implements [show.Broker].
func (b *kafkaBroker) Flags() []string { return []string{"-brokers", b.addresses} }

// Freed implements [show.Broker].
func (b *kafkaBroker) Freed() string {
	return fmt.Sprintf("when the session of the killed one times out, after %v", sessionTimeout)
}

// Close implements [show.Broker].
func (b *kafkaBroker) Close() error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.close()
}

// Fill implements [show.Broker].
func (b *kafkaBroker) Fill(ctx context.Context, topic string, messages int) (busiest int, err error) {
	if err := b.create(ctx, topic); err != nil {
		return 0, fmt.Errorf("create topic %s: %w; is there a Kafka at %s?", topic, err, b.addresses)
	}
	s, err := sink.New(strings.Split(b.addresses, ","), topic, sink.Config{})
	if err != nil {
		return 0, err
	}
	w, err := s.Open()
	if err != nil {
		return 0, err
	}
	batch := make([]keystrand.Message, 0, 1_000)
	busiest, err = show.Draw(messages, func(key, value []byte) error {
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
	return busiest, errors.Join(err, w.Close(), s.Close())
}

func (b *kafkaBroker) create(ctx context.Context, topic string) error {
	created, err := b.client().CreateTopics(ctx, &kafkago.CreateTopicsRequest{
		Topics: []kafkago.TopicConfig{{Topic: topic, NumPartitions: show.Partitions, ReplicationFactor: 1}},
	})
	if err != nil {
		return err
	}
	return created.Errors[topic]
}

// Committed implements [show.Broker]. It reads the group's offsets, and from their metadata which messages above them
// are settled.
func (b *kafkaBroker) Committed(ctx context.Context, topic, group string) (func(show.Comment) bool, error) {
	all := make([]int, show.Partitions)
	for i := range all {
		all[i] = i
	}
	offsets, err := b.client().OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: all}})
	if err != nil {
		return nil, err
	}
	if offsets.Error != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, offsets.Error)
	}
	progress := make([]*commit.Progress, show.Partitions)
	for _, o := range offsets.Topics[topic] {
		if o.Error != nil {
			return nil, fmt.Errorf("committed offset of partition %d: %w", o.Partition, o.Error)
		}
		if o.CommittedOffset < 0 {
			continue // nothing is committed yet
		}
		if progress[o.Partition], err = commit.Decode(o.Metadata); err != nil {
			return nil, fmt.Errorf("committed progress of partition %d: %w", o.Partition, err)
		}
	}
	return func(c show.Comment) bool {
		p := progress[c.Partition]
		return p != nil && p.Settled(c.Offset)
	}, nil
}

func (b *kafkaBroker) client() *kafkago.Client {
	return &kafkago.Client{Addr: kafkago.TCP(strings.Split(b.addresses, ",")...), Timeout: 10 * time.Second}
}
