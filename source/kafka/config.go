package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// Config is everything that is not required. The zero value is a good configuration.
type Config struct {
	// TLS encrypts the connections. Where ServerName is empty, the name that was dialed is verified. Default: no TLS.
	TLS *tls.Config
	// SASL is how to authenticate: [Plain], [SCRAMSHA256], [SCRAMSHA512], or any mechanism of kafka-go. Default: not at
	// all.
	SASL sasl.Mechanism
	// ClientID names this program in the brokers' logs and quotas. The member of the group gets a few random letters
	// behind it. Default: keystrand.
	ClientID string
	// RackID says where this process runs, so that a broker can name a nearer replica to read from. Default: none.
	RackID string

	// SessionTimeout is how long the broker waits for a sign of life before it gives the partitions to others. Brokers
	// allow 6 s to 30 min unless configured otherwise. Default: 30 s.
	SessionTimeout time.Duration
	// HeartbeatInterval is the time between signs of life, and how soon a rebalance is noticed; at most a third of
	// SessionTimeout. Default: 3 s, or a fifth of SessionTimeout if that is less.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the broker waits for the members of a group to drain. A partition that is asked back
	// and not released shortly before is lost. Default: 60 s.
	RebalanceTimeout time.Duration
	// JoinBackoff is how long to wait before joining again after an error. Default: 300 ms.
	JoinBackoff time.Duration
	// Strategy decides which member gets which partitions. All members should use the same; while they do not (during a
	// change), one that all of them know is used. Default: assign.Sticky.
	Strategy assign.Strategy
	// StartTimeout bounds the first wait for the cluster and the group; after it Accept returns an error. Default: 0,
	// wait for ever.
	StartTimeout time.Duration
	// WatchInterval is how often to look for new partitions of the topics, and with WatchTopics for new topics.
	// Default: 30 s.
	WatchInterval time.Duration
	// WatchTopics lets topics be absent: they are read as soon as they exist. Else an absent topic is an error. Topics
	// are never created, as far as the client can help it. Default: false.
	WatchTopics bool

	// Start is where to begin: [Committed], [CommittedOrLatest], [Earliest], [Latest], [At] or [Offsets].
	// Default: Committed().
	Start Start
	// StopAtEnd makes the source finite: partitions end where their logs ended when Accept was first called, with
	// io.EOF, and Accept returns io.EOF when the group has come there. A partition whose end could not be committed comes
	// again, with all messages behind the last commit that was stored: while none is stored, that goes on until the
	// context of Run ends. Default: false.
	StopAtEnd bool
	// OutOfRange is what to do when the position is no longer, or not yet, in the log. Default: OutOfRangeFail.
	OutOfRange OutOfRange
	// ForeignProgress is what to do with committed offsets that this package did not write, or whose metadata cannot be
	// trusted. Default: ForeignReplay.
	ForeignProgress ForeignProgress

	// ReadUncommitted also returns messages of open and aborted transactions. Default: false.
	ReadUncommitted bool
	// MaxBytes bounds the records of one response for a partition, at most 64 MiB; a single larger batch comes alone.
	// Default: 1 MiB.
	MaxBytes int
	// MaxWait is how long a broker holds a request back when there is nothing new. Default: 500 ms.
	MaxWait time.Duration
	// StallTimeout is how long a partition below the end of its log may make no progress before the log and Report name
	// it as stalled. Default: 30 s.
	StallTimeout time.Duration
	// MetadataLimit bounds the progress stored with each committed offset, in bytes; at most 32767. A broker that
	// accepts less (offset.metadata.max.bytes) is noticed, and the limit lowered. Default: begin with 4096, a broker's
	// default, and try more when progress does not fit.
	MetadataLimit int

	// Logger gets each change of state once. Default: nothing is logged.
	Logger *slog.Logger
	// Dial makes the connections; for tests and tunnels. Default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// OutOfRange says what to do with a position that is not in the log: records were deleted before they were read, or
// the log was cut.
type OutOfRange uint8

const (
	// OutOfRangeFail ends the partition with an error that names offset and log.
	OutOfRangeFail OutOfRange = iota
	// OutOfRangeEarliest goes on at the first message there is.
	OutOfRangeEarliest
	// OutOfRangeLatest goes on at the end.
	OutOfRangeLatest
)

// ForeignProgress says what to do with committed progress that is not ours: offsets committed by another program or a
// tool, metadata that is cut off, of a newer version, or about another offset or another log. The committed offset
// itself is believed, unless it belongs to another log (the topic was deleted and made again): then reading begins at
// the first message of the new log. Nothing is skipped either way.
type ForeignProgress uint8

const (
	// ForeignReplay goes on from the committed offset and hands out everything behind it. It is told in the log.
	ForeignReplay ForeignProgress = iota
	// ForeignFail makes Accept return an error that names topic, partition and reason.
	ForeignFail
)

// Plain authenticates with user and password in clear text: use it with TLS only. The mechanism never prints the password.
func Plain(user, password string) sasl.Mechanism { return cluster.Plain(user, password) }

// SCRAMSHA256 authenticates with SCRAM-SHA-256. The mechanism never prints the password.
func SCRAMSHA256(user, password string) sasl.Mechanism {
	return cluster.SCRAM("SCRAM-SHA-256", scram.SHA256, user, password)
}

// SCRAMSHA512 authenticates with SCRAM-SHA-512. The mechanism never prints the password.
func SCRAMSHA512(user, password string) sasl.Mechanism {
	return cluster.SCRAM("SCRAM-SHA-512", scram.SHA512, user, password)
}

func (c Config) withDefaults() Config {
	if c.ClientID == "" {
		c.ClientID = "keystrand"
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 30 * time.Second
	}
	if c.HeartbeatInterval == 0 {
		c.HeartbeatInterval = min(3*time.Second, c.SessionTimeout/5)
	}
	if c.RebalanceTimeout == 0 {
		c.RebalanceTimeout = 60 * time.Second
	}
	if c.JoinBackoff == 0 {
		c.JoinBackoff = 300 * time.Millisecond
	}
	if c.Strategy == nil {
		c.Strategy = assign.Sticky()
	}
	if c.WatchInterval == 0 {
		c.WatchInterval = 30 * time.Second
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = 30 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 20
	}
	if c.MaxWait == 0 {
		c.MaxWait = 500 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: cluster.DialTimeout}).DialContext
	}
	return c
}

// validate returns all errors of a configuration with its defaults in place.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"SessionTimeout", c.SessionTimeout},
		{"HeartbeatInterval", c.HeartbeatInterval},
		{"RebalanceTimeout", c.RebalanceTimeout},
		{"JoinBackoff", c.JoinBackoff},
		{"StartTimeout", c.StartTimeout},
		{"WatchInterval", c.WatchInterval},
		{"MaxWait", c.MaxWait},
		{"StallTimeout", c.StallTimeout},
	} {
		if d.d < 0 {
			wrong("%s is negative: %v", d.name, d.d)
		}
	}
	if c.HeartbeatInterval > c.SessionTimeout/3 {
		wrong("HeartbeatInterval %v is more than a third of SessionTimeout %v: one lost heartbeat must not cost the membership",
			c.HeartbeatInterval, c.SessionTimeout)
	}
	if c.HeartbeatInterval > c.RebalanceTimeout/3 {
		wrong("HeartbeatInterval %v is more than a third of RebalanceTimeout %v: no time would be left to drain",
			c.HeartbeatInterval, c.RebalanceTimeout)
	}
	if c.MaxBytes < 0 || c.MaxBytes > fetch.MostBytes {
		wrong("MaxBytes %d is not in 0..%d", c.MaxBytes, fetch.MostBytes)
	}
	if c.MetadataLimit < 0 || c.MetadataLimit > progress.MaxMetadata {
		wrong("MetadataLimit %d is not in 0..%d", c.MetadataLimit, progress.MaxMetadata)
	}
	if c.OutOfRange > OutOfRangeLatest {
		wrong("OutOfRange %d is no policy", c.OutOfRange)
	}
	if c.ForeignProgress > ForeignFail {
		wrong("ForeignProgress %d is no policy", c.ForeignProgress)
	}
	if c.Strategy.Name() == "" {
		wrong("Strategy %T has no name", c.Strategy)
	}
	if m, ok := c.SASL.(*cluster.Credentials); ok && m.Err != nil {
		wrong("SASL %s: %w", m.Name(), m.Err)
	}
	errs = append(errs, c.Start.validate())
	return errors.Join(errs...)
}

// margin is how much earlier than the broker we let go, so that joining again is in time: the broker's clock began up
// to a heartbeat before we heard of the rebalance.
func (c Config) margin() time.Duration {
	return c.HeartbeatInterval + min(2*time.Second, c.RebalanceTimeout/10)
}
