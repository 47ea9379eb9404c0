package pulsar

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/settings"
)

// Config configures a [Sink]. The zero value is the default.
type Config struct {
	// ByStream writes each message to the topic named by its Stream. The topic passed to New must then be empty. If a
	// Transformer emits its input with the same Stream, the message is written back to the topic it was read from.
	// Default: false.
	ByStream bool
	// Partitioner chooses the partition of a message that has a key. Default: JavaStringHash, as the Java client.
	Partitioner Partitioner
	// Compression is the compression of batches: pulsar.LZ4, ZLib, ZSTD or SNAPPY of the client library. Default: none.
	Compression pulsar.CompressionType
	// MixKeys allows messages of several keys in one batch, which makes fewer and larger entries. Do not set it if a Key_Shared
	// subscription reads the topic: such a subscription needs entries with one key. Default: false.
	MixKeys bool
	// MaxBatchBytes bounds the unconfirmed bytes of a writer in a partition, and so the size of a batch, before compression. A
	// larger message is sent alone. It must be below the broker's maxMessageSize. Default: 1 MiB.
	MaxBatchBytes int
	// MaxMessageBytes is the broker's maxMessageSize. A larger message is a permanent failure. Its size includes key and
	// headers, which are sent twice, and some overhead. A lower limit of the broker still applies. Default: 5 MiB.
	MaxMessageBytes int
	// LastHeaderWins keeps the last of several headers with the same name. If it is false, a message with two values for one
	// name is a permanent failure, because properties are a map. A dead letter of such a message is
	// written without the headers of the message. Default: false.
	LastHeaderWins bool
	// RequestTimeout bounds a request that is not a message: to look up a topic, to open or to close a producer. Default: 5s.
	RequestTimeout time.Duration
	// HealTimeout bounds the time that a Write waits for a partition without a confirmation: its broker is down or silent, or
	// the topic is above its quota. Then Write reports the messages that are not durable. The pipeline writes them again, and
	// meanwhile writes other messages that wait for this writer. Messages that a slow broker stores after all are stored twice.
	// Default: 10s.
	HealTimeout time.Duration
	// MetadataMaxAge bounds the age of the metadata of a topic, and so the time until new partitions are used. Default: 1m.
	MetadataMaxAge time.Duration

	// TLS is the configuration of connections to a pulsar+ssl URL. Default: nil, the authorities of the system.
	TLS *tls.Config
	// Authentication is the result of a NewAuthentication… function of the client library: a token, OAuth2, a certificate.
	// Default: nil, no authentication.
	Authentication pulsar.Authentication
	// Client changes other options of the client library, for example its listener name or its metrics registerer. It is
	// called before the client is made, after the fields of this Config are applied. Default: nil.
	Client func(*pulsar.ClientOptions)
	// Logger logs when writes to a partition start to fail and when they recover. At level debug it logs the lines of the
	// client library. Default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Partitioner == nil {
		c.Partitioner = JavaStringHash
	}
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, 1<<20)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 5<<20)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, 5*time.Second)
	c.HealTimeout = cmp.Or(c.HealTimeout, 10*time.Second)
	c.MetadataMaxAge = cmp.Or(c.MetadataMaxAge, time.Minute)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (c Config) validate(serviceURL, topic string) error {
	var errs []error
	if err := pulsarname.CheckURL(serviceURL); err != nil {
		errs = append(errs, err)
	} else if c.TLS != nil && !pulsarname.Encrypts(serviceURL) {
		errs = append(errs, errors.New("Config.TLS is set but the URL does not use TLS: use a URL of the form pulsar+ssl://host:6651"))
	}
	switch {
	case topic == "" && !c.ByStream:
		errs = append(errs, errors.New("no topic: pass one, or set Config.ByStream to write each message to the topic named by its Stream"))
	case topic != "" && c.ByStream:
		errs = append(errs, errors.New("both a topic and Config.ByStream are set: use one of them"))
	case topic != "":
		if err := pulsarname.CheckTopic(topic); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Compression < 0 || c.Compression > pulsar.SNAPPY {
		errs = append(errs, fmt.Errorf("unknown Compression: %d", c.Compression))
	}
	for name, n := range settings.Negative[int](c) {
		errs = append(errs, fmt.Errorf("%s is negative: %d", name, n))
	}
	if c.MaxBatchBytes > c.MaxMessageBytes && c.MaxMessageBytes > 0 {
		errs = append(errs, fmt.Errorf("MaxBatchBytes (%d) exceeds MaxMessageBytes (%d)", c.MaxBatchBytes, c.MaxMessageBytes))
	}
	for name, d := range settings.Negative[time.Duration](c) {
		errs = append(errs, fmt.Errorf("%s is negative: %v", name, d))
	}
	return errors.Join(errs...)
}
