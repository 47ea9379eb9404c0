package pulsar

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// client is the part of the library's client that the sink uses. Each call may block for several RequestTimeouts and takes no
// ctx, so the sink runs it in its own goroutine.
type client interface {
	// Partitions returns the names of a topic's partitions, or the topic itself if it has none.
	Partitions(topic string) ([]string, error)
	// Produce opens a producer to the topic of one partition.
	Produce(topic string) (producer, error)
	// Close closes all connections. No other call may run.
	Close()
}

// producer is the part of the library's producer that an outlet uses.
type producer interface {
	// SendAsync queues a message. It calls done at most once, before or after it returns. done must not block. While the
	// producer closes, SendAsync may panic (v0.19.0 sends on a closed channel).
	SendAsync(ctx context.Context, m *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error))
	// FlushWithCtx sends the queued messages and waits for the answers. It may panic like SendAsync.
	FlushWithCtx(ctx context.Context) error
	// Close drops the unanswered messages. After it returns, they are not sent any more.
	Close()
}

// library is the client library as a client.
type library struct {
	pulsar.Client

	cfg *Config
}

// maxWave is the maximum number of messages in a wave. The library's queue has room for them, so that it never blocks.
const maxWave = 1000

// preference is that of [pulsarprobe.Prefer], or of a test.
type preference func(ctx context.Context, url string) string

// connect returns a new client. The client does not connect yet, but requests its first token, which may block.
func connect(url string, prefer preference, cfg *Config, troubles *troubles) (client, error) {
	type result struct {
		c   client
		err error
	}
	made := make(chan result, 1)
	go func() {
		c, err := newLibrary(prefer(context.Background(), url), cfg, troubles)
		made <- result{c, err}
	}()
	timer := time.NewTimer(cfg.RequestTimeout)
	defer timer.Stop()
	select {
	case r := <-made:
		return r.c, r.err
	case <-timer.C:
		go func() {
			if r := <-made; r.err == nil {
				r.c.Close()
			}
		}()
		return nil, fmt.Errorf("create the client: no token from Config.Authentication within %v", cfg.RequestTimeout)
	}
}

func newLibrary(url string, cfg *Config, troubles *troubles) (client, error) {
	options := pulsar.ClientOptions{
		URL:               url,
		ConnectionTimeout: cfg.RequestTimeout,
		OperationTimeout:  cfg.RequestTimeout,
		KeepAliveInterval: max(cfg.RequestTimeout, time.Second), // the library disconnects a silent broker after two intervals
		Authentication:    cfg.Authentication,
		TLSConfig:         cfg.TLS,
		Logger:            libraryLog{out: cfg.Logger, troubles: troubles},
		MemoryLimitBytes:  -1, // no limit: the waves bound the memory
	}
	if cfg.Client != nil {
		cfg.Client(&options)
	}
	c, err := pulsar.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("create the client: %w", err)
	}
	return &library{c, cfg}, nil
}

// Partitions implements client.
func (l *library) Partitions(topic string) ([]string, error) { return l.TopicPartitions(topic) }

// Produce implements client. With these options the library sends only when it is flushed. If the library cut batches by time
// or size, the first messages of a key could fail while later ones are stored.
func (l *library) Produce(topic string) (producer, error) {
	builder := pulsar.KeyBasedBatchBuilder
	if l.cfg.MixKeys {
		builder = pulsar.DefaultBatchBuilder
	}
	f := &former{codec: pulsarwire.Codec(l.cfg.Compression)} //nolint:gosec // validated
	p, err := l.CreateProducer(pulsar.ProducerOptions{
		Topic:                   topic,
		Encryption:              &pulsar.ProducerEncryptionInfo{MessageCrypto: f},
		SendTimeout:             -1,
		MaxPendingMessages:      maxWave,
		CompressionType:         l.cfg.Compression,
		BatcherBuilderType:      builder,
		BatchingMaxMessages:     maxWave,
		BatchingMaxSize:         math.MaxInt32,
		BatchingMaxPublishDelay: 1000 * time.Hour,
		// The topic is a single partition, so there is nothing to discover.
		PartitionsAutoDiscoveryInterval: 1000 * time.Hour,
	})
	if err != nil {
		return nil, err
	}
	return formed{p, f}, nil
}
