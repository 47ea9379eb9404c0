// Package pulsarbench is shared by the benchmarks on Pulsar: topics, and a proxy that counts acknowledgements. It is apart
// from bench, so that other measured processes do not have the Pulsar client library in memory.
package pulsarbench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	pulsarlog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin/config"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/utils"
)

// Cluster is a Pulsar to measure on.
type Cluster struct {
	URL    string
	client pulsar.Client
	topics admin.Topics
	made   []string
}

// New returns a client of a cluster and of its web service, which creates and deletes topics. It does not connect.
func New(url, adminURL string) (*Cluster, error) {
	client, err := Client(url)
	if err != nil {
		return nil, err
	}
	web, err := admin.New(&config.Config{WebServiceURL: adminURL})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Cluster{URL: url, client: client, topics: web.Topics()}, nil
}

// Client returns a client of the library that logs nothing.
func Client(url string) (pulsar.Client, error) {
	return pulsar.NewClient(pulsar.ClientOptions{URL: url, OperationTimeout: 10 * time.Second, Logger: pulsarlog.DefaultNopLogger(), MemoryLimitBytes: -1})
}

// Partition returns the name of one partition's topic.
func Partition(topic string, n int) string { return fmt.Sprintf("%s-partition-%d", topic, n) }

// Batching says how producers batch the messages of a topic.
type Batching struct {
	// Off: each message is an entry of its own.
	Off bool
	// Messages bounds a batch. Default: 0, the library's bounds (1,000 messages, 128 kB, 10 ms).
	Messages int
}

// Record returns partition, key and value of the i-th message.
type Record func(i int) (partition int, key, value []byte)

// Fill creates a partitioned topic of n messages and returns its full name.
func (p *Cluster) Fill(ctx context.Context, partitions, n int, b Batching, record Record) (string, error) {
	topic, err := p.Make(ctx, partitions)
	if err != nil {
		return "", err
	}
	return topic, p.Write(ctx, topic, partitions, 0, n, b, record)
}

// Make creates a partitioned topic and returns its full name.
func (p *Cluster) Make(ctx context.Context, partitions int) (string, error) {
	topic := fmt.Sprintf("persistent://public/default/bench-%d-%d", time.Now().UnixNano(), len(p.made))
	name, err := utils.GetTopicName(topic)
	if err != nil {
		return "", err
	}
	if err := p.topics.CreateWithContext(ctx, *name, partitions); err != nil {
		return "", fmt.Errorf("create topic %s: %w", topic, err)
	}
	p.made = append(p.made, topic)
	return topic, nil
}

// Write writes a range of messages to a topic, and waits until the broker has confirmed them.
func (p *Cluster) Write(ctx context.Context, topic string, partitions, from, to int, b Batching, record Record) error {
	producers := make([]pulsar.Producer, partitions)
	for i := range producers {
		o := pulsar.ProducerOptions{Topic: Partition(topic, i), SendTimeout: -1, MaxPendingMessages: 10_000, DisableBatching: b.Off}
		if b.Messages > 0 {
			o.BatchingMaxMessages, o.BatchingMaxPublishDelay = uint(b.Messages), time.Hour
		}
		producer, err := p.client.CreateProducer(o)
		if err != nil {
			return fmt.Errorf("write topic %s: %w", topic, err)
		}
		defer producer.Close()
		producers[i] = producer
	}
	var failed atomic.Pointer[error]
	for i := from; i < to; i++ {
		partition, key, value := record(i)
		producers[partition].SendAsync(ctx, &pulsar.ProducerMessage{Key: string(key), Payload: value},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
	}
	var flushes sync.WaitGroup
	for _, producer := range producers {
		flushes.Go(func() {
			if err := producer.FlushWithCtx(ctx); err != nil {
				failed.Store(&err)
			}
		})
	}
	flushes.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("write topic %s: %w", topic, *err)
	}
	return nil
}

// Cursor is the broker's position of a subscription in one partition.
type Cursor struct {
	Read    string // ledger:entry below which everything is acknowledged
	Last    string // ledger:entry of the last message
	Ranges  int    // of entries acknowledged above Read
	Backlog int64  // entries not acknowledged
}

// Cursor asks the broker for the cursor of a subscription.
func (p *Cluster) Cursor(ctx context.Context, topic string, partition int, subscription string) (Cursor, error) {
	name, err := utils.GetTopicName(Partition(topic, partition))
	if err != nil {
		return Cursor{}, err
	}
	internal, err := p.topics.GetInternalStatsWithContext(ctx, *name)
	if err != nil {
		return Cursor{}, err
	}
	stats, err := p.topics.GetStatsWithContext(ctx, *name)
	if err != nil {
		return Cursor{}, err
	}
	c := internal.Cursors[subscription]
	return Cursor{
		Read: c.MarkDeletePosition, Last: internal.LastConfirmedEntry, Ranges: c.TotalNonContiguousDeletedMessagesRange,
		Backlog: stats.Subscriptions[subscription].MsgBacklog,
	}, nil
}

// Unload makes the broker close one partition of a topic. The broker opens it again at the next request.
func (p *Cluster) Unload(ctx context.Context, topic string, partition int) error {
	name, err := utils.GetTopicName(Partition(topic, partition))
	if err != nil {
		return err
	}
	return p.topics.UnloadWithContext(ctx, *name)
}

// Forget deletes the topics that Make and Fill created.
func (p *Cluster) Forget(ctx context.Context) error {
	var errs []error
	for _, topic := range p.made {
		name, err := utils.GetTopicName(topic)
		if err == nil {
			err = p.topics.DeleteWithContext(ctx, *name, true, false)
		}
		errs = append(errs, err)
	}
	p.made = nil
	return errors.Join(errs...)
}

// Close closes the connections.
func (p *Cluster) Close() { p.client.Close() }

// NeedBroker returns the error of a command without -pulsar.
func NeedBroker() error {
	return errors.New(`flag -pulsar is missing (no Pulsar is embedded): use -pulsar pulsar://HOST:6650 -admin http://HOST:8080
to start one on this machine:
  PULSAR_HEAP=1g tools/services/services up pulsar
  eval "$(tools/services/services env)"
and then: -pulsar $KEYSTRAND_PULSAR -admin $KEYSTRAND_PULSAR_ADMIN`)
}
