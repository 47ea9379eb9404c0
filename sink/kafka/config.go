package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/keystrand/keystrand/internal/settings"
)

// Config configures a [Sink]. The zero value is the default.
type Config struct {
	// ByStream writes each message to the topic named by its Stream. The topic passed to New must then be empty. If a
	// Transformer emits its input with the same Stream, the message is written back to the topic it was read from.
	// Default: false.
	ByStream bool
	// Partitioner chooses the partition of a message that has a key. Default: Murmur2, as the Java producer.
	Partitioner Partitioner
	// Compression is the compression of batches: kafka.Gzip, Snappy, Lz4 or Zstd of the client library. Default: none.
	Compression kafka.Compression
	// MaxBatchBytes bounds a batch for one partition, before compression. A larger message is a permanent failure. If you
	// increase it, increase max.message.bytes of the topic too. If the limit of the broker is lower, the sink splits batches.
	// Default: 1048588, the default of the broker.
	MaxBatchBytes int
	// RequestTimeout bounds one request. The broker may use three quarters of it to wait for its replicas. Default: 10s.
	RequestTimeout time.Duration
	// HealTimeout bounds the time that a Write retries transient errors, from the first error. Then Write reports the messages
	// that are not durable. The pipeline writes them again, and meanwhile writes other messages that wait for this writer.
	// Default: 2s.
	HealTimeout time.Duration
	// MetadataMaxAge bounds the age of the metadata of a topic, and so the time until new partitions are used. A moved leader
	// is looked up at once. Default: 1m.
	MetadataMaxAge time.Duration

	// ClientID is the name of the client in requests to the brokers. Default: keystrand.
	ClientID string
	// TLS is the configuration of encrypted connections. Default: nil, no TLS.
	TLS *tls.Config
	// SASL is the mechanism to authenticate with. Default: nil, no authentication.
	SASL sasl.Mechanism
	// Dial opens the connections. Network is tcp, address is host:port. It is called concurrently. Its ctx ends after at
	// most 5 s; a call that ignores that is abandoned, and its connection is closed. Default: net.Dialer with a timeout of 3s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger logs when writes to a partition fail, once a minute while some do, and when all have recovered. Default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Partitioner == nil {
		c.Partitioner = Murmur2
	}
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, 1<<20+12)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 10*time.Second)
	c.HealTimeout = cmp.Or(c.HealTimeout, 2*time.Second)
	c.MetadataMaxAge = cmp.Or(c.MetadataMaxAge, time.Minute)
	c.ClientID = cmp.Or(c.ClientID, "keystrand")
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c Config) validate(brokers []string, topic string) error {
	var errs []error
	switch {
	case topic == "" && !c.ByStream:
		errs = append(errs, errors.New("no topic: pass one, or set Config.ByStream to write each message to the topic named by its Stream"))
	case topic != "" && c.ByStream:
		errs = append(errs, errors.New("both a topic and Config.ByStream are set: use one of them"))
	default:
		if err := checkName(topic); topic != "" && err != nil {
			errs = append(errs, err)
		}
	}
	if len(brokers) == 0 {
		errs = append(errs, errors.New("no brokers: pass at least one host:port"))
	}
	for _, b := range brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("broker %q is not host:port: %w", b, err))
		}
	}
	if c.Compression < 0 || c.Compression > kafka.Zstd {
		errs = append(errs, fmt.Errorf("unknown Compression: %d", c.Compression))
	}
	if c.MaxBatchBytes < 0 {
		errs = append(errs, fmt.Errorf("MaxBatchBytes is negative: %d", c.MaxBatchBytes))
	}
	for name, d := range settings.Negative[time.Duration](c) {
		errs = append(errs, fmt.Errorf("%s is negative: %v", name, d))
	}
	return errors.Join(errs...)
}
