package client

import (
	"cmp"
	"errors"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// Client is a connected client library. Each call may take several operation timeouts, and some hang while a connection is
// down: use [Call].
type Client interface {
	// Partitions returns the topics of a topic's partitions, or the topic itself if it is not partitioned. It returns full
	// names, as the library's log does.
	Partitions(topic string) ([]string, error)
	// Join adds a candidate to the election of a partition. Closing the candidate withdraws it.
	Join(o Candidacy) (Candidate, error)
	// Attach takes the lock of a partition and starts to receive its messages.
	Attach(o Attachment) (Consumer, error)
	Close()
}

// Candidate is a consumer of the election.
type Candidate interface {
	// Follow moves the election's subscription behind a message. It receives none, so brokers would count all as its backlog.
	// It does not wait for the broker.
	Follow(ledger, entry int64)
	Close()
}

// Consumer holds the lock of a partition until it is closed. A [pulsar.Consumer] is one.
type Consumer interface {
	Chan() <-chan pulsar.ConsumerMessage
	// AckIDList returns when the broker has confirmed, or the consumer is closed.
	AckIDList(ids []pulsar.MessageID) error
	// GetLastMessageIDs returns one id, of the last message of the log. Its ledger is negative if the log is empty.
	GetLastMessageIDs() ([]pulsar.TopicMessageID, error)
	Seek(id pulsar.MessageID) error
	SeekByTime(t time.Time) error
	Close()
}

// Candidacy describes a candidate: a consumer that receives no messages, of which the broker makes one active.
type Candidacy struct {
	Topic, Subscription, Name string
	// Changed reports whether the candidate is the active one. It must not block.
	Changed func(active bool)
}

// Attachment describes the exclusive consumer of a partition.
type Attachment struct {
	Topic, Subscription, Name string
	Latest                    bool // a new subscription starts at the end of the log
	Seeks                     bool // the consumer reconnects, since to seek costs it the connection
}

// Settings apply to all consumers of messages.
type Settings struct {
	QueueSize    int              // messages requested ahead
	Keys         crypto.KeyReader // nil: encrypted messages are delivered as they are
	ChunkTimeout time.Duration    // 0: incomplete messages in chunks are kept for ever
}

// Dial returns a client, which connects on its first call. The library logs to l, whatever options say.
func Dial(options pulsar.ClientOptions, set Settings, l *Log) (Client, error) {
	c, err := pulsar.NewClient(l.options(options))
	if err != nil {
		return nil, err
	}
	return &library{Client: c, set: set}, nil
}

type library struct {
	pulsar.Client
	set Settings
}

func (l *library) Partitions(topic string) ([]string, error) {
	found, err := l.TopicPartitions(topic)
	for i, name := range found {
		found[i] = pulsarname.Full(name)
	}
	return found, err
}

func (l *library) Join(o Candidacy) (Candidate, error) {
	c, err := l.Subscribe(pulsar.ConsumerOptions{
		Topic:                   o.Topic,
		SubscriptionName:        o.Subscription,
		Name:                    o.Name,
		Type:                    pulsar.Failover,
		SubscriptionMode:        pulsar.NonDurable,
		EnableZeroQueueConsumer: true,
		EventListener:           listener(o.Changed),
		AutoDiscoveryPeriod:     never,
	})
	if err != nil {
		return nil, err
	}
	return candidate{c}, nil
}

type candidate struct{ pulsar.Consumer }

func (c candidate) Follow(ledger, entry int64) {
	_ = c.AckIDCumulative(pulsar.NewMessageID(ledger, entry, -1, 0)) // the next one makes up for it
}

// never is longer than any process runs. A partition has no partitions to discover, and Close waits for a discovery.
const never = 100 * 365 * 24 * time.Hour

// ChannelSize is how many messages Fetch can take at once without a switch of goroutines.
const ChannelSize = 256

func (l *library) Attach(o Attachment) (Consumer, error) {
	position := pulsar.SubscriptionPositionEarliest
	if o.Latest {
		position = pulsar.SubscriptionPositionLatest
	}
	options := pulsar.ConsumerOptions{
		Topic:                       o.Topic,
		SubscriptionName:            o.Subscription,
		Name:                        o.Name,
		Type:                        pulsar.Exclusive,
		SubscriptionInitialPosition: position,
		ReceiverQueueSize:           l.set.QueueSize,
		MessageChannel:              make(chan pulsar.ConsumerMessage, ChannelSize),
		AckWithResponse:             true,
		Decryption:                  decryption(l.set.Keys),
		AutoDiscoveryPeriod:         never,
		MaxPendingChunkedMessage:    -1,                                      // else the library drops the oldest of 100 incomplete ones
		ExpireTimeOfIncompleteChunk: cmp.Or(l.set.ChunkTimeout, time.Minute), // a minute ends its goroutine: see Log
	}
	if !o.Seeks {
		options.MaxReconnectToBroker = new(uint)
		options.BackOffPolicyFunc = func() backoff.Policy { return endless{} }
	}
	return l.Subscribe(options)
}

// endless is a delay longer than any process runs.
type endless struct{}

func (endless) Next() time.Duration       { return never }
func (endless) IsMaxBackoffReached() bool { return true }
func (endless) Reset()                    {}

// decryption delivers messages that cannot be decrypted.
func decryption(keys crypto.KeyReader) *pulsar.MessageDecryptionInfo {
	if keys == nil {
		keys = noKeys{}
	}
	return &pulsar.MessageDecryptionInfo{
		KeyReader:                   keys,
		ConsumerCryptoFailureAction: crypto.ConsumerCryptoFailureActionConsume,
	}
}

type noKeys struct{}

var errNoKeys = errors.New("Config.KeyReader is nil")

func (noKeys) PublicKey(string, map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return nil, errNoKeys
}

func (noKeys) PrivateKey(string, map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return nil, errNoKeys
}

// listener receives the broker's choice.
type listener func(active bool)

func (l listener) BecameActive(pulsar.Consumer, string, int32)   { l(true) }
func (l listener) BecameInactive(pulsar.Consumer, string, int32) { l(false) }
