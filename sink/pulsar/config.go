package pulsar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// Config has what New does not require. The zero value is the default.
type Config struct {
	// ByStream writes each message to the topic that its Stream names; New then takes no topic. A Transformer that emits the
	// message it was given, with its Stream as it is, writes it back to the topic that it came from. Default: false.
	ByStream bool
	// Partitioner chooses the partition of a message that has a key. Default: JavaStringHash, as the Java client.
	Partitioner Partitioner
	// Compression of the batches: pulsar.LZ4, ZLib, ZSTD or SNAPPY of the client library. Default: none.
	Compression pulsar.CompressionType
	// MixKeys lets a batch hold messages of several keys: fewer and larger entries, for topics that no Key_Shared
	// subscription reads. Those that do need all messages of an entry to be of one key. Default: off, one key a batch.
	MixKeys bool
	// MaxBatchBytes bounds what a writer has unconfirmed in a partition, and so a batch, before compression. A larger
	// message goes alone. Keep it below the broker's maxMessageSize. Default: 1 MiB.
	MaxBatchBytes int
	// MaxMessageBytes is the broker's maxMessageSize: a message that does not fit, with its key and headers (they are sent
	// twice) and some bytes around them, is refused as permanent. A broker with a lower limit is obeyed. Default: 5 MiB.
	MaxMessageBytes int
	// LastHeaderWins keeps the last of several headers with the same name. Default: off, a message with two values for one
	// name is refused as permanent, since its properties are a map. For dead letters switch it on: a permanent refusal
	// of a dead letter leaves nothing but to try it for ever.
	LastHeaderWins bool
	// RequestTimeout is how long the broker may take to answer one request that is not a message: to look up a topic, to
	// open or to close a producer. Default: 5s.
	RequestTimeout time.Duration
	// HealTimeout is how long a Write waits for a partition that confirms nothing (its broker is away or silent, its topic
	// is above its quota) before it reports what is not durable. The caller writes that again, and what waits for the same
	// writer gets its turn meanwhile. What a slower broker stores all the same stands there twice then. Default: 10s.
	HealTimeout time.Duration
	// MetadataMaxAge is how old the knowledge about a topic may become; new partitions are found so late at most.
	// Default: 1m.
	MetadataMaxAge time.Duration

	// TLS, if set, is how connections to a pulsar+ssl URL are encrypted. Default: nil, the system's authorities.
	TLS *tls.Config
	// Authentication is what the client library's NewAuthentication… functions return: a token, OAuth2, a certificate.
	// Default: nil, none.
	Authentication pulsar.Authentication
	// Client changes what else the client library offers (a listener's name, a registerer of its metrics) before the client
	// is made; what this Config sets is set already. Default: nil, nothing.
	Client func(*pulsar.ClientOptions)
	// Logger gets a line when a partition begins and ends to be in trouble, and at level debug what the client library tells.
	// Default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Partitioner == nil {
		c.Partitioner = JavaStringHash
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 1 << 20
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 5 << 20
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 5 * time.Second
	}
	if c.HealTimeout == 0 {
		c.HealTimeout = 10 * time.Second
	}
	if c.MetadataMaxAge == 0 {
		c.MetadataMaxAge = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate(serviceURL, topic string) error {
	var errs []error
	if err := pulsarname.CheckURL(serviceURL); err != nil {
		errs = append(errs, err)
	} else if c.TLS != nil && !pulsarname.Encrypts(serviceURL) {
		errs = append(errs, errors.New("there is Config.TLS, and nothing is encrypted with it: want a URL of the form pulsar+ssl://host:6651"))
	}
	switch {
	case topic == "" && !c.ByStream:
		errs = append(errs, errors.New("no topic: name one, or set Config.ByStream to write each message to the topic that its Stream names"))
	case topic != "" && c.ByStream:
		errs = append(errs, errors.New("there is a topic, and Config.ByStream is set: want one of them"))
	case topic != "":
		if err := pulsarname.CheckTopic(topic); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Compression < 0 || c.Compression > pulsar.SNAPPY {
		errs = append(errs, fmt.Errorf("unknown Compression: %d", c.Compression))
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxBatchBytes", c.MaxBatchBytes}, {"MaxMessageBytes", c.MaxMessageBytes}} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: %d", n.name, n.value))
		}
	}
	if c.MaxBatchBytes > c.MaxMessageBytes && c.MaxMessageBytes > 0 {
		errs = append(errs, fmt.Errorf("MaxBatchBytes, %d, is more than MaxMessageBytes, %d", c.MaxBatchBytes, c.MaxMessageBytes))
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
