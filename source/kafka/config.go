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

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/keystrand/keystrand/internal/settings"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// Config has the optional settings. The zero value is a good configuration.
type Config struct {
	// TLS encrypts the connections. An empty ServerName means the name that is dialed. Default: no TLS.
	TLS *tls.Config
	// SASL authenticates: [Plain], [SCRAMSHA256], [SCRAMSHA512], or any mechanism of kafka-go. Default: none.
	SASL sasl.Mechanism
	// ClientID identifies this program in the brokers' logs and quotas. The member of the group appends random letters.
	// Default: keystrand.
	ClientID string
	// RackID is the rack of this process, so that a broker can name a nearer replica. Default: none.
	RackID string

	// Alone says that this is the only member of the group, so that partitions never move to another process, as a store on
	// local disk needs. A generation of the group with another member is an error, [ErrNotAlone], also later: this member drains
	// and leaves. Stop the old process before the new one starts; one that crashed is waited for until its session has timed out.
	// Default: false.
	Alone bool
	// SessionTimeout is how long the broker waits for a heartbeat before it assigns the partitions to others. A member that
	// crashes without Close stops its partitions for this long. If it starts again within this time, it joins as a new member,
	// and the whole group stops until the session of the old one has timed out. A broker restart that is shorter than about two
	// thirds of it, and of RebalanceTimeout, costs no rebalance. Brokers allow 6 s to 30 min unless configured otherwise.
	// Default: 30 s.
	SessionTimeout time.Duration
	// HeartbeatInterval is the time between heartbeats, and how soon a rebalance is noticed; at most a third of
	// SessionTimeout. Default: 3 s, or a fifth of SessionTimeout if that is less.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the broker waits for the members of a group to drain. A revoked partition that is not
	// released shortly before is lost. Default: 60 s.
	RebalanceTimeout time.Duration
	// JoinBackoff is the first delay before a retry, of joining and of other requests. Default: 300 ms.
	JoinBackoff time.Duration
	// Strategy assigns partitions to members. All members should use the same; while they differ (during a change), the
	// group uses one that all of them know. Default: assign.Sticky.
	Strategy assign.Strategy
	// StartTimeout bounds the first wait for the cluster and the group; after it Accept returns an error. Default: 0,
	// wait for ever.
	StartTimeout time.Duration
	// WatchInterval is how often the source looks for new partitions, and with WatchTopics for new topics. Default: 30 s.
	WatchInterval time.Duration
	// WatchTopics allows absent topics: they are read as soon as they exist. Without it a topic that is absent at the first
	// Accept is an error. A topic that is deleted later is trouble in Report, and is read again once it exists, with and
	// without WatchTopics; the others go on. The source creates no topics. Default: false.
	WatchTopics bool

	// Start is where reading starts: [Committed], [CommittedOrLatest], [Earliest], [Latest], [At] or [Offsets].
	// Default: Committed().
	Start Start
	// StopAtEnd makes the source finite: partitions end with io.EOF where their logs ended at the first Accept, and Accept
	// returns io.EOF when the group has committed all these ends. A partition without a commit of its end is accepted again,
	// with all messages behind its last stored commit, until the context of Run ends. Default: false.
	StopAtEnd bool
	// OutOfRange handles a position that is no longer, or not yet, in the log. Default: OutOfRangeFail.
	OutOfRange OutOfRange
	// ForeignProgress handles committed offsets of other programs, and invalid metadata. Default: ForeignReplay.
	ForeignProgress ForeignProgress

	// ReadUncommitted includes messages of open and aborted transactions. Default: false.
	ReadUncommitted bool
	// MaxBytes bounds the records of one response for a partition, except a single larger batch; at most 64 MiB. A partition
	// requests less while its messages are handled slowly, or if its share of the pipeline's Limits.PrefetchBytes is less.
	// Default: 1 MiB.
	MaxBytes int
	// MaxWait is how long a broker delays the answer to a fetch without new records. Default: 500 ms.
	MaxWait time.Duration
	// StallTimeout is how long a partition makes no progress below the end of its log before it is reported stalled, in the
	// log and in Report; also if an open transaction holds the messages back. Default: 30 s.
	StallTimeout time.Duration
	// MetadataLimit bounds the progress stored with each committed offset, in bytes; at most 32767. The source lowers it if
	// a broker refuses (offset.metadata.max.bytes). Default: 4096, a broker's default, or as much as is stored; and more if
	// progress does not fit.
	MetadataLimit int

	// Logger receives each change of state once. Default: nothing is logged.
	Logger *slog.Logger
	// Dial opens the connections. Network is tcp, address is host:port. It is called concurrently. Its ctx ends after at
	// most 5 s; a call that ignores that is abandoned, and its connection is closed. Default: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// OutOfRange is the policy for a position that is not in the log: records were deleted before they were fetched, or the log
// was cut.
type OutOfRange uint8

const (
	// OutOfRangeFail ends the partition with an error that names offset and log.
	OutOfRangeFail OutOfRange = iota
	// OutOfRangeEarliest continues at the first message.
	OutOfRangeEarliest
	// OutOfRangeLatest continues at the end.
	OutOfRangeLatest
)

// ForeignProgress is the policy for offsets committed by another program or tool, and for metadata that is truncated, newer,
// or of another offset or log. The committed offset itself is used unless it belongs to another log (the topic was deleted
// and created again): then reading starts at the first message of the new log. No message is skipped.
type ForeignProgress uint8

const (
	// ForeignReplay starts at the committed offset, ignores the ranges ahead, and logs that.
	ForeignReplay ForeignProgress = iota
	// ForeignFail makes Accept return an error with topic, partition and reason.
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
	c.ClientID = cmp.Or(c.ClientID, "keystrand")
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 30*time.Second)
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, min(3*time.Second, c.SessionTimeout/5))
	c.RebalanceTimeout = cmp.Or(c.RebalanceTimeout, 60*time.Second)
	c.JoinBackoff = cmp.Or(c.JoinBackoff, 300*time.Millisecond)
	if c.Strategy == nil {
		c.Strategy = assign.Sticky()
	}
	c.WatchInterval = cmp.Or(c.WatchInterval, 30*time.Second)
	c.StallTimeout = cmp.Or(c.StallTimeout, 30*time.Second)
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<20)
	c.MaxWait = cmp.Or(c.MaxWait, 500*time.Millisecond)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: cluster.DialTimeout}).DialContext
	}
	return c
}

// validate returns all errors of a configuration with defaults.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	for name, d := range settings.Negative[time.Duration](c) {
		wrong("%s is negative: %v", name, d)
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
		wrong("OutOfRange %d is unknown", c.OutOfRange)
	}
	if c.ForeignProgress > ForeignFail {
		wrong("ForeignProgress %d is unknown", c.ForeignProgress)
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

// margin is how long before the broker's deadline partitions are lost, so that the member joins again in time.
func (c Config) margin() time.Duration { return min(2*time.Second, c.RebalanceTimeout/10) }
