// Package kafkabroker is the broker of the examples that read Kafka: a real one, or an embedded one that it starts.
package kafkabroker

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
	"github.com/keystrand/keystrand/sink"
	kafkasink "github.com/keystrand/keystrand/sink/kafka"
	source "github.com/keystrand/keystrand/source/kafka"
)

// A Broker is a real Kafka, or the embedded broker.
type Broker struct {
	addresses      string // separated by commas; empty until the embedded broker runs
	sessionTimeout time.Duration
	embedded       *embedded
}

// New returns the Kafka at addresses, separated by commas, or an embedded broker if there are none. sessionTimeout is the
// one of the members. New does not connect.
func New(addresses string, sessionTimeout time.Duration) (*Broker, error) {
	if addresses != "" {
		if _, err := source.New(strings.Split(addresses, ","), "check", []string{"check"}, source.Config{}); err != nil {
			return nil, fmt.Errorf("-brokers %q: %w; use host:port, and commas between several", addresses, err)
		}
	}
	return &Broker{addresses: addresses, sessionTimeout: sessionTimeout}, nil
}

// Start implements [show.Broker].
func (b *Broker) Start(ctx context.Context, out *show.Output) (err error) {
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
func (b *Broker) Flags() []string { return []string{"-brokers", b.addresses} }

// Freed implements [show.Broker].
func (b *Broker) Freed() string {
	return fmt.Sprintf("when the session of the killed one times out, after %v", b.sessionTimeout)
}

// Close implements [show.Broker].
func (b *Broker) Close() error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.close()
}

// Fill implements [show.Broker].
func (b *Broker) Fill(ctx context.Context, topic string, messages int) (busiest int, err error) {
	if err := b.Create(ctx, topic); err != nil {
		return 0, err
	}
	w, err := b.Writer(topic)
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
	return busiest, errors.Join(err, w.Close())
}

// Create creates a topic of show.Partitions partitions.
func (b *Broker) Create(ctx context.Context, topic string) error {
	created, err := b.client().CreateTopics(ctx, &kafkago.CreateTopicsRequest{
		Topics: []kafkago.TopicConfig{{Topic: topic, NumPartitions: show.Partitions, ReplicationFactor: 1}},
	})
	if err == nil {
		err = created.Errors[topic]
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w; is there a Kafka at %s?", topic, err, b.addresses)
	}
	return nil
}

// Writer returns a writer to a topic.
func (b *Broker) Writer(topic string) (sink.Writer, error) {
	s, err := kafkasink.New(strings.Split(b.addresses, ","), topic, kafkasink.Config{})
	if err != nil {
		return nil, err
	}
	w, err := s.Open()
	return writer{w, s}, err
}

// writer closes its sink, too.
type writer struct {
	sink.Writer
	sink *kafkasink.Sink
}

func (w writer) Close() error { return errors.Join(w.Writer.Close(), w.sink.Close()) }

// Committed implements [show.Broker]. It reads the group's offsets, and from their metadata which messages above them
// are settled.
func (b *Broker) Committed(ctx context.Context, topic, group string) (func(show.Comment) bool, error) {
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

func (b *Broker) client() *kafkago.Client {
	return &kafkago.Client{Addr: kafkago.TCP(strings.Split(b.addresses, ",")...), Timeout: 10 * time.Second}
}
