package pulsar

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/settings"
	"github.com/keystrand/keystrand/source/pulsar/internal/web"
)

// Config holds the optional settings. The zero value is a good configuration.
type Config struct {
	// TLS configures connections to a pulsar+ssl URL and to an https AdminURL. If ServerName is empty, the name in the URL is
	// verified. Default: the system's root certificates.
	TLS *tls.Config
	// Authentication is [Token], [TokenFrom], [OAuth2], or any other of pulsar-client-go. Default: none.
	Authentication pulsar.Authentication
	// Name identifies this program in the broker's statistics. A random suffix is appended. Default: keystrand.
	Name string
	// Client changes further options of the client library (listener names, metrics). URL and the fields above are already
	// set. Logger is overwritten: the source learns from it that a connection ends, and forwards its lines to the Logger
	// below. Default: nothing.
	Client func(*pulsar.ClientOptions)

	// Alone says that this is the only process. It takes partitions at once, without an election. A partition that another
	// consumer holds for longer than BusyTimeout is an error. Default: false.
	Alone bool
	// BusyTimeout is how long another consumer may hold the subscription of a partition before that is logged, or with Alone
	// is an error. A broker notices a crashed consumer at once, a frozen one 5 s after another tries. Default: 30 s.
	BusyTimeout time.Duration
	// StartTimeout bounds the first wait for the brokers. After it Accept returns an error. Default: 0, no bound.
	StartTimeout time.Duration
	// OperationTimeout bounds the answer of the broker to one request, and of Store to a claim. A connection on which nothing
	// arrives for twice as long, and two seconds at least, is closed, and its partitions are lost. Default: 10 s.
	OperationTimeout time.Duration
	// ReleaseTimeout bounds how long Release waits for the broker to close the consumer. The close then goes on in the
	// background. Default: 5 s.
	ReleaseTimeout time.Duration
	// WatchInterval is the time between looks for new partitions, deleted topics, and with Pattern new topics. Default: 30 s.
	WatchInterval time.Duration
	// WatchTopics allows absent topics: they are read as soon as they exist. Otherwise an absent topic is an error. At brokers
	// that create topics on request, every topic exists. Default: false.
	WatchTopics bool

	// Pattern also reads all topics of Namespace with a matching full name (persistent://tenant/namespace/topic), from their
	// first message on. They may be created and deleted. Pattern needs AdminURL, which lists the names. Default: none.
	Pattern *regexp.Regexp
	// Namespace is the namespace of Pattern, as tenant/namespace. Default: public/default.
	Namespace string
	// AdminURL is the brokers' web service for Pattern, as http://localhost:8080. Default: none.
	AdminURL string
	// AdminToken authenticates there. Default: the token of Authentication, if it is one. That token is not sent over http
	// if the brokers get it over pulsar+ssl.
	AdminToken string

	// Start is where reading begins: [Earliest], [Latest], [At] or [After]. Default: Earliest().
	Start Start
	// Offsets selects how messages are numbered. Default: OffsetsAuto.
	Offsets Offsets
	// Store keeps the progress outside the brokers: exact within batches, and fenced by epochs, which brokers do not have. It
	// belongs to one cluster, see Cluster. commit/sql is one in a database. Default: nil, the subscription's acknowledgements are
	// the progress. Then a batch is acknowledged when all of it is settled, and nothing above a batch that is settled in part.
	Store commit.Store
	// Cluster names the brokers in Store. Progress of a cluster with another name is ignored: the partition begins at the
	// position of its subscription. All processes use the same name. Change it after the brokers have lost their data.
	// Default: the hosts and ports of the URL.
	Cluster string
	// KeyReader decrypts messages. A message that it cannot decrypt stops its partition before it, as trouble; it is asked again
	// every minute. Default: nil, an encrypted message stops its partition.
	KeyReader crypto.KeyReader
	// ReceiverQueueSize is how many messages the client library requests ahead for each partition. A batch arrives whole.
	// Default: 1000.
	ReceiverQueueSize int
	// ChunkTimeout is how long a message in chunks may take from its first chunk to its last, including a pause of its
	// partition. Then its chunks are dropped and acknowledged, and a line at level warn logs each. That removes the chunks of
	// a producer that died, but loses a message that is only late. Default: 0, no timeout; such chunks stay in the backlog.
	ChunkTimeout time.Duration

	// Logger gets each change of state once, and the lines of the client library at level debug. Default: nothing is logged.
	Logger *slog.Logger
}

// Offsets selects how messages are numbered.
type Offsets uint8

const (
	// OffsetsAuto uses the broker's index if the first message of an ownership has one, else packed message ids.
	OffsetsAuto Offsets = iota
	// OffsetsIndex uses the broker's index, which counts the messages of a partition. A message without one is an error: the
	// brokers do not number messages, or did not when it was written.
	OffsetsIndex
	// OffsetsPacked packs ledger, entry and batch index into one number. Offsets ascend and have gaps.
	OffsetsPacked
)

func (c Config) withDefaults() Config {
	c.Name = cmp.Or(c.Name, "keystrand")
	c.BusyTimeout = cmp.Or(c.BusyTimeout, 30*time.Second)
	c.OperationTimeout = cmp.Or(c.OperationTimeout, 10*time.Second)
	c.ReleaseTimeout = cmp.Or(c.ReleaseTimeout, 5*time.Second)
	c.WatchInterval = cmp.Or(c.WatchInterval, 30*time.Second)
	c.Namespace = cmp.Or(c.Namespace, "public/default")
	c.ReceiverQueueSize = cmp.Or(c.ReceiverQueueSize, 1000)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Store != nil && c.Offsets == OffsetsAuto {
		c.Offsets = OffsetsPacked // never reused, so progress never skips messages of a topic that is created again
	}
	return c
}

// validate returns all errors of a configuration with defaults.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pulsar: "+format, args...)) }
	for name, d := range settings.Negative[time.Duration](c) {
		wrong("%s is negative: %v", name, d)
	}
	if c.ReceiverQueueSize < 0 {
		wrong("ReceiverQueueSize is negative: %d", c.ReceiverQueueSize)
	}
	if c.Offsets > OffsetsPacked {
		wrong("Offsets %d is unknown", c.Offsets)
	}
	if c.Store != nil && c.Offsets == OffsetsIndex {
		wrong("OffsetsIndex cannot be used with a Store: a topic that is created again starts at 0 and would be skipped")
	}
	if c.Pattern != nil && c.AdminURL == "" {
		wrong("Pattern needs AdminURL: the brokers' web service lists topics")
	}
	if c.Pattern != nil && c.AdminURL != "" {
		errs = append(errs, web.Check(c.AdminURL, c.Namespace))
	}
	if c.Pattern == nil && c.AdminURL != "" {
		wrong("AdminURL is set without Pattern")
	}
	if a, ok := c.Authentication.(*unusable); ok {
		wrong("Authentication: %w", a.err)
	}
	errs = append(errs, c.Start.validate(c.Alone))
	return errors.Join(errs...)
}

// sameAs returns a function that reports whether a name means this topic.
func sameAs(topic string) func(string) bool {
	return func(other string) bool { return pulsarname.Full(other) == pulsarname.Full(topic) }
}

// fullNames returns the full names of topics, sorted.
func fullNames(topics []string) []string {
	full := make([]string, 0, len(topics))
	for _, t := range topics {
		full = append(full, pulsarname.Full(t))
	}
	slices.Sort(full)
	return full
}

// checkTopics returns all errors in the names of the topics to read.
func checkTopics(topics []string) error {
	var errs []error
	for i, t := range topics {
		if err := pulsarname.CheckTopic(t); err != nil {
			errs = append(errs, fmt.Errorf("pulsar: %w", err))
			continue
		}
		if j := slices.IndexFunc(topics[:i], sameAs(t)); j >= 0 {
			errs = append(errs, fmt.Errorf("pulsar: topic %q is given twice, also as %q", t, topics[j]))
		}
		for _, whole := range topics {
			if n, of := strings.CutPrefix(pulsarname.Full(t), pulsarname.Full(whole)+pulsarname.PartitionSuffix); of && pulsarname.IsNumber(n) {
				errs = append(errs, fmt.Errorf("pulsar: topic %q is a partition of %q, which is given too and includes it", t, whole))
			}
		}
	}
	return errors.Join(errs...)
}
