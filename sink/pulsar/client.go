package pulsar

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// client is what the sink needs of the library's client. Each call may block for several RequestTimeouts and takes no
// context, so it is made from a goroutine of its own.
type client interface {
	// Partitions returns the names of a topic's partitions, or its own if it has none.
	Partitions(topic string) ([]string, error)
	// Produce opens a producer to the topic of one partition.
	Produce(topic string) (producer, error)
	// Close ends all connections. It is called when nothing else runs any more.
	Close()
}

// producer is what an outlet needs of the library's producer.
type producer interface {
	// SendAsync takes a message. The callback comes once, before the return or later, or never; it must not block. On a
	// producer that closes it may panic (v0.19.0 sends on a closed channel).
	SendAsync(ctx context.Context, m *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error))
	// FlushWithCtx sends what was taken, and waits until it has been answered. It too may panic.
	FlushWithCtx(ctx context.Context) error
	// Close takes back what is unanswered: after its return nothing of it is sent any more.
	Close()
}

// library is the client library as a client.
type library struct {
	pulsar.Client

	cfg *Config
}

// maxWave is the most messages of a wave. The library's queue has room for them, so that it never blocks.
const maxWave = 1000

// connect makes the client. That connects to nothing, but asks for the first token, which can hang.
func connect(url string, cfg *Config, troubles *troubles) (client, error) {
	type result struct {
		c   client
		err error
	}
	made := make(chan result, 1)
	go func() {
		c, err := newLibrary(url, cfg, troubles)
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
		return nil, fmt.Errorf("client library: no answer within %v: does Config.Authentication answer?", cfg.RequestTimeout)
	}
}

func newLibrary(url string, cfg *Config, troubles *troubles) (client, error) {
	options := pulsar.ClientOptions{
		URL:               url,
		ConnectionTimeout: cfg.RequestTimeout,
		OperationTimeout:  cfg.RequestTimeout,
		KeepAliveInterval: max(cfg.RequestTimeout, time.Second), // a silent broker is missed after two
		Authentication:    cfg.Authentication,
		TLSConfig:         cfg.TLS,
		Logger:            libraryLog{out: cfg.Logger, troubles: troubles},
		MemoryLimitBytes:  -1, // the waves are the bound
	}
	if cfg.Client != nil {
		cfg.Client(&options)
	}
	c, err := pulsar.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("client library: %w", err)
	}
	return &library{c, cfg}, nil
}

// Partitions implements client.
func (l *library) Partitions(topic string) ([]string, error) { return l.TopicPartitions(topic) }

// Produce implements client. The options make the library send exactly when it is flushed, and all at once: a batch cut
// by its own clock or limits would let the first half of a key's messages fail and the second be stored.
func (l *library) Produce(topic string) (producer, error) {
	builder := pulsar.KeyBasedBatchBuilder
	if l.cfg.MixKeys {
		builder = pulsar.DefaultBatchBuilder
	}
	return l.CreateProducer(pulsar.ProducerOptions{
		Topic:                   topic,
		SendTimeout:             -1,
		MaxPendingMessages:      maxWave,
		CompressionType:         l.cfg.Compression,
		BatcherBuilderType:      builder,
		BatchingMaxMessages:     maxWave,
		BatchingMaxSize:         math.MaxInt32,
		BatchingMaxPublishDelay: 1000 * time.Hour,
		// It is one partition's topic and never grows.
		PartitionsAutoDiscoveryInterval: 1000 * time.Hour,
	})
}
