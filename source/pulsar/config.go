package pulsar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand/commit"
)

// Config is everything that is not required. The zero value is a good configuration.
type Config struct {
	// TLS is how connections to a pulsar+ssl URL are encrypted, and those to an https AdminURL. Where ServerName is empty,
	// the name in the URL is verified. Default: the system's root certificates.
	TLS *tls.Config
	// Authentication is how to authenticate: [Token], [TokenFrom], [OAuth2], or any other of pulsar-client-go. Default:
	// not at all.
	Authentication pulsar.Authentication
	// Name names this program in the broker's statistics; a few random letters are put behind it. Default: keystrand.
	Name string
	// Client changes what else the client library offers (listener names, metrics) before the client is made. URL and the
	// fields above are set already. Logger is set behind it, whatever it says: the source hears from it that a connection
	// goes; what the library writes goes to the Logger below. Default: nothing.
	Client func(*pulsar.ClientOptions)

	// Alone: there is one process only. Partitions are taken at once, without an election; a partition that somebody
	// else has for longer than BusyTimeout is an error. Default: false.
	Alone bool
	// BusyTimeout is how long the subscription of a partition may be held by somebody else before it is told, and with
	// Alone before it is an error. A broker misses a consumer that has crashed at once, one that is frozen 5 s after somebody
	// has tried. Default: 30 s.
	BusyTimeout time.Duration
	// StartTimeout bounds the first wait for the brokers; after it Accept returns an error. Default: 0, wait for ever.
	StartTimeout time.Duration
	// OperationTimeout is how long the broker may take to answer one request, and Store to answer a claim. Default: 10 s.
	OperationTimeout time.Duration
	// ReleaseTimeout bounds how long Release waits for the broker to let a partition go; what lasts longer goes on
	// behind it. Default: 5 s.
	ReleaseTimeout time.Duration
	// WatchInterval is how often to look for new partitions, for topics that are gone, and with Pattern for new topics.
	// Default: 30 s.
	WatchInterval time.Duration
	// WatchTopics lets topics be absent: they are read as soon as they exist. Else an absent topic is an error. Where the
	// brokers create topics by themselves, one that is asked for exists. Default: false.
	WatchTopics bool

	// Pattern also reads all topics of Namespace whose full name (persistent://tenant/namespace/topic) it matches, from
	// their first message on; they may come and go. It needs AdminURL, which is asked for the names. Default: none.
	Pattern *regexp.Regexp
	// Namespace is where Pattern looks, as tenant/namespace. Default: public/default.
	Namespace string
	// AdminURL is the brokers' web service, as http://localhost:8080; for Pattern. Default: none.
	AdminURL string
	// AdminToken authenticates there. Default: the token of Authentication if it gives one, else not at all. It is not sent
	// in clear over http where the brokers get it over pulsar+ssl.
	AdminToken string

	// Start is where to begin: [Earliest], [Latest], [At] or [After]. Default: Earliest().
	Start Start
	// Offsets is what messages are numbered by. Default: OffsetsAuto.
	Offsets Offsets
	// Store keeps the progress beside the brokers: exact for batches too, and fenced by epochs, which brokers do not have.
	// It belongs to one cluster, see Cluster. Default: nil, the subscription's acknowledgements are the progress: a batch
	// is acknowledged when all of it is settled, and nothing above a batch that is settled in part.
	Store commit.Store
	// Cluster names the brokers in what Store keeps: progress of a cluster of another name is not used, the partition begins
	// where its subscription stands. All processes give the same, and another one when the brokers have lost their data.
	// Default: the hosts and ports of the URL.
	Cluster string
	// KeyReader decrypts messages. Default: nil, an encrypted message is an error of its partition.
	KeyReader crypto.KeyReader
	// ReceiverQueueSize is how many messages the client library asks for ahead, for each partition; a batch that was
	// begun comes whole. Default: 1000.
	ReceiverQueueSize int
	// ChunkTimeout is how long a message in chunks may take from its first chunk to its last, a pause of its partition
	// included. Then the chunks that are there are dropped and acknowledged, with a line in the log at level warn for each: it
	// is what is left of a producer that died, but a message that was only late is lost. Default: 0, for ever; such chunks
	// stay in the backlog.
	ChunkTimeout time.Duration

	// Logger gets each change of state once. What the client library writes comes at level debug. Default: nothing is
	// logged.
	Logger *slog.Logger
}

// Offsets says what messages are numbered by.
type Offsets uint8

const (
	// OffsetsAuto takes the broker's index where the first message of an ownership has one, else packed message ids.
	OffsetsAuto Offsets = iota
	// OffsetsIndex takes the broker's index, which counts the messages of a partition. A message without one is an
	// error: the brokers do not number messages, or did not when it was written.
	OffsetsIndex
	// OffsetsPacked packs ledger, entry and batch index into one number. It ascends and skips.
	OffsetsPacked
)

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "keystrand"
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 30 * time.Second
	}
	if c.OperationTimeout == 0 {
		c.OperationTimeout = 10 * time.Second
	}
	if c.ReleaseTimeout == 0 {
		c.ReleaseTimeout = 5 * time.Second
	}
	if c.WatchInterval == 0 {
		c.WatchInterval = 30 * time.Second
	}
	if c.Namespace == "" {
		c.Namespace = "public/default"
	}
	if c.ReceiverQueueSize == 0 {
		c.ReceiverQueueSize = 1000
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Store != nil && c.Offsets == OffsetsAuto {
		c.Offsets = OffsetsPacked // a number of it is never used again, so a topic that is made again is never skipped
	}
	return c
}

// validate returns all errors of a configuration with its defaults in place.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pulsar: "+format, args...)) }
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"BusyTimeout", c.BusyTimeout},
		{"StartTimeout", c.StartTimeout},
		{"OperationTimeout", c.OperationTimeout},
		{"ReleaseTimeout", c.ReleaseTimeout},
		{"WatchInterval", c.WatchInterval},
		{"ChunkTimeout", c.ChunkTimeout},
	} {
		if d.d < 0 {
			wrong("%s is negative: %v", d.name, d.d)
		}
	}
	if c.ReceiverQueueSize < 0 {
		wrong("ReceiverQueueSize is negative: %d", c.ReceiverQueueSize)
	}
	if c.Offsets > OffsetsPacked {
		wrong("Offsets %d is no way to number messages", c.Offsets)
	}
	if c.Store != nil && c.Offsets == OffsetsIndex {
		wrong("OffsetsIndex does not go with a Store: a topic that is made again begins at 0, and would be skipped")
	}
	if c.Pattern != nil && c.AdminURL == "" {
		wrong("Pattern needs AdminURL: topics are listed by the brokers' web service")
	}
	if c.Pattern != nil && c.AdminURL != "" {
		errs = append(errs, c.checkAdmin())
	}
	if c.Pattern == nil && c.AdminURL != "" {
		wrong("AdminURL is for Pattern, which is not set")
	}
	if a, ok := c.Authentication.(*unusable); ok {
		wrong("Authentication: %w", a.err)
	}
	errs = append(errs, c.Start.validate(c.Alone))
	return errors.Join(errs...)
}
