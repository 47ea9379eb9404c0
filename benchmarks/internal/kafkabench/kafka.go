// Package kafkabench has the clusters that the benchmarks of Kafka measure on.
package kafkabench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

// BrokerWork is the name under which programs register [Broker].
const BrokerWork = "broker"

// Broker is an embedded broker that speaks Kafka's protocol and keeps everything in memory. It prints its addresses
// and runs until ctx ends.
func Broker(ctx context.Context, _ struct{}) error {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := bench.Answer(c.ListenAddrs()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Kafka is a cluster to measure on.
type Kafka struct {
	Brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	topics  atomic.Int32
	mu      sync.Mutex
	made    []string
}

// New connects to a cluster. It writes batches of at most so many bytes. Each option replaces one of New.
func New(brokers []string, batchBytes int32, options ...kgo.Opt) (*Kafka, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.MaxBufferedRecords(100_000),
		kgo.MetadataMinAge(50 * time.Millisecond), // how soon to look again for the leader of a new topic
		kgo.UnknownTopicRetries(-1),               // a busy broker takes a while to know one; the caller's ctx is the limit
	}, options...)...)
	if err != nil {
		return nil, err
	}
	return &Kafka{Brokers: brokers, client: client, admin: kadm.NewClient(client)}, nil
}

// Fill creates a topic of n messages and returns its name. record returns partition, key and value of the i-th message.
func (k *Kafka) Fill(ctx context.Context, partitions, n int, record func(i int) (partition int32, key, value []byte)) (string, error) {
	topic := fmt.Sprintf("bench-%d-%d", time.Now().UnixNano(), k.topics.Add(1))
	if _, err := k.admin.CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil {
		return "", fmt.Errorf("create topic %s: %w", topic, err)
	}
	k.mu.Lock()
	k.made = append(k.made, topic)
	k.mu.Unlock()
	w := writing{client: k.client, topic: topic, record: record}
	for i := range n {
		w.write(ctx, i)
	}
	if err := w.flush(ctx); err != nil {
		return "", fmt.Errorf("fill topic %s: %w", topic, err)
	}
	return topic, nil
}

// Feed writes rate messages a second to a topic until ctx ends. It returns how many it has written.
func (k *Kafka) Feed(ctx context.Context, topic string, rate int, record func(i int) (partition int32, key, value []byte)) (int, error) {
	w := writing{client: k.client, topic: topic, record: record}
	start, n := time.Now(), 0
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
			w.write(context.WithoutCancel(ctx), n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return n, w.flush(context.WithoutCancel(ctx))
}

// Play writes n messages to a topic. due returns when to write the i-th one, in ascending order. Play returns how late the
// latest of them was written: that much of a latency since its due time is the writer's own.
func (k *Kafka) Play(ctx context.Context, topic string, n int, due func(i int) time.Time, record func(i int) (partition int32, key, value []byte)) (late time.Duration, err error) {
	w := writing{client: k.client, topic: topic, record: record}
	for i := range n {
		if d := time.Until(due(i)); d > 0 {
			time.Sleep(d)
		}
		late = max(late, time.Since(due(i)))
		w.write(ctx, i)
		if ctx.Err() != nil {
			return late, context.Cause(ctx)
		}
	}
	return late, w.flush(ctx)
}

// writing writes messages to one topic and remembers an error.
type writing struct {
	client *kgo.Client
	topic  string
	record func(i int) (partition int32, key, value []byte)
	failed atomic.Pointer[error]
}

func (w *writing) write(ctx context.Context, i int) {
	r := &kgo.Record{Topic: w.topic}
	r.Partition, r.Key, r.Value = w.record(i)
	w.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			w.failed.Store(&err)
		}
	})
}

// flush waits until all messages are written, and returns an error if one is not.
func (w *writing) flush(ctx context.Context) error {
	if err := w.client.Flush(ctx); err != nil {
		return err
	}
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Forget deletes the topics that Fill created.
func (k *Kafka) Forget(ctx context.Context) error {
	k.mu.Lock()
	made := k.made
	k.made = nil
	k.mu.Unlock()
	if len(made) == 0 {
		return nil
	}
	_, err := k.admin.DeleteTopics(ctx, made...)
	return err
}

// Close closes the connections.
func (k *Kafka) Close() { k.client.Close() }

// StartBroker starts [Broker] in a process of its own.
func StartBroker(ctx context.Context) (addresses []string, p *bench.Process, err error) {
	if p, err = bench.Start(ctx, BrokerWork, struct{}{}); err != nil {
		return nil, nil, err
	}
	if err = json.NewDecoder(p.Out).Decode(&addresses); err != nil {
		return nil, nil, fmt.Errorf("start embedded broker: %w", err)
	}
	return addresses, p, nil
}
