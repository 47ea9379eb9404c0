package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Config has what New does not require. The zero value is the default.
type Config struct {
	// ByStream writes each message to the topic that its Stream names; New then takes no topic. A Transformer that emits the
	// message it was given, with its Stream as it is, writes it back to the topic that it came from. Default: false.
	ByStream bool
	// Partitioner chooses the partition of a message that has a key. Default: Murmur2, as the Java producer.
	Partitioner Partitioner
	// Compression of the batches: kafka.Gzip, Snappy, Lz4 or Zstd of the client library. Default: none.
	Compression kafka.Compression
	// MaxBatchBytes bounds a batch for one partition, before compression; a single message beyond it is refused as
	// permanent. Raise it together with the topic's max.message.bytes. A broker with a lower limit is obeyed: the batch is
	// split. Default: 1048588, the broker's default.
	MaxBatchBytes int
	// RequestTimeout is how long one request may take. The broker gets three quarters of it to wait for its replicas.
	// Default: 10s.
	RequestTimeout time.Duration
	// HealTimeout is how long a Write tries to heal faults that pass, from the first on, before it reports what is not
	// durable. The caller writes that again, and what waits for the same writer gets its turn meanwhile. Default: 2s.
	HealTimeout time.Duration
	// MetadataMaxAge is how old the knowledge about a topic may become; new partitions are found so late at most. A moved
	// leader is looked up at once. Default: 1m.
	MetadataMaxAge time.Duration

	// ClientID names the client to the brokers. Default: keystrand.
	ClientID string
	// TLS, if set, encrypts the connections. Default: nil, no TLS.
	TLS *tls.Config
	// SASL, if set, logs in with this mechanism. Default: nil, no login.
	SASL sasl.Mechanism
	// Dial opens connections. Default: net.Dialer with a timeout of 3s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets a line when a partition begins and ends to be in trouble. Default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Partitioner == nil {
		c.Partitioner = Murmur2
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 1<<20 + 12
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 10 * time.Second
	}
	if c.HealTimeout == 0 {
		c.HealTimeout = 2 * time.Second
	}
	if c.MetadataMaxAge == 0 {
		c.MetadataMaxAge = time.Minute
	}
	if c.ClientID == "" {
		c.ClientID = "keystrand"
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate(brokers []string, topic string) error {
	var errs []error
	switch {
	case topic == "" && !c.ByStream:
		errs = append(errs, errors.New("no topic: name one, or set Config.ByStream to write each message to the topic that its Stream names"))
	case topic != "" && c.ByStream:
		errs = append(errs, errors.New("there is a topic, and Config.ByStream is set: want one of them"))
	}
	if len(brokers) == 0 {
		errs = append(errs, errors.New("no brokers"))
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
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"RequestTimeout", c.RequestTimeout}, {"HealTimeout", c.HealTimeout}, {"MetadataMaxAge", c.MetadataMaxAge}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: %v", d.name, d.value))
		}
	}
	return errors.Join(errs...)
}
