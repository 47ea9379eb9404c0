package pulsar

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
	"github.com/apache/pulsar-client-go/pulsar/crypto"
)

// client is what the source needs of the client library, in the source's words; tests have a broker of their own behind
// it. Its calls know no ctx: each may take several operation timeouts, and some hang while a connection is down.
type client interface {
	// partitions returns the topics of a topic's partitions, or the topic itself where it has none, by their full names: so
	// the library's log calls them.
	partitions(topic string) ([]string, error)
	// candidate makes this process one of those that the broker chooses the owner of a partition from.
	candidate(o candidacy) (closer, error)
	// attach takes the lock of a partition and begins to receive its messages.
	attach(o attachment) (consumer, error)
	close()
}

type closer interface{ Close() }

// consumer holds the lock of a partition until it is closed.
type consumer interface {
	Chan() <-chan pulsar.ConsumerMessage
	// AckIDList returns when the broker has confirmed, and not before the connection is back or the consumer is closed.
	AckIDList(ids []pulsar.MessageID) error
	// GetLastMessageIDs returns one id, of the last message of the log; its ledger is negative where the log is empty.
	GetLastMessageIDs() ([]pulsar.TopicMessageID, error)
	Seek(id pulsar.MessageID) error
	SeekByTime(t time.Time) error
	Close()
}

// candidacy is what a candidate says of itself.
type candidacy struct {
	topic, subscription, name string
	// changed is called on the goroutine that reads the connection: it must not block.
	changed func(active bool)
}

// attachment is what the consumer of a partition's messages says of itself.
type attachment struct {
	topic, subscription, name string
	latest                    bool // a new subscription begins at the end
	moves                     bool // it is to move the subscription, which costs it its connection; else it ends with that
}

// library is the client library.
type library struct {
	pulsar.Client
	cfg Config
}

func (l *library) partitions(topic string) ([]string, error) {
	found, err := l.TopicPartitions(topic)
	for i, name := range found {
		found[i] = full(name)
	}
	return found, err
}

// full returns the name of a topic as brokers have it: persistent://tenant/namespace/topic.
func full(topic string) string {
	switch {
	case strings.Contains(topic, "://"):
		return topic
	case strings.Contains(topic, "/"):
		return "persistent://" + topic
	}
	return "persistent://public/default/" + topic
}

func (l *library) close() { l.Close() }

func (l *library) candidate(o candidacy) (closer, error) {
	return l.Subscribe(pulsar.ConsumerOptions{
		Topic:                   o.topic,
		SubscriptionName:        o.subscription,
		Name:                    o.name,
		Type:                    pulsar.Failover,
		SubscriptionMode:        pulsar.NonDurable,
		EnableZeroQueueConsumer: true,
		EventListener:           listener(o.changed),
		AutoDiscoveryPeriod:     never,
	})
}

// never is longer than any process: a partition does not have partitions to discover, and Close waits for a discovery
// that is under way.
const never = 100 * 365 * 24 * time.Hour

// channelSize is how many messages can be fetched at once without changing goroutines in between.
const channelSize = 256

func (l *library) attach(o attachment) (consumer, error) {
	position := pulsar.SubscriptionPositionEarliest
	if o.latest {
		position = pulsar.SubscriptionPositionLatest
	}
	return l.Subscribe(pulsar.ConsumerOptions{
		Topic:                       o.topic,
		SubscriptionName:            o.subscription,
		Name:                        o.name,
		Type:                        pulsar.Exclusive,
		SubscriptionInitialPosition: position,
		ReceiverQueueSize:           l.cfg.ReceiverQueueSize,
		MessageChannel:              make(chan pulsar.ConsumerMessage, channelSize),
		AckWithResponse:             true,
		MaxReconnectToBroker:        reconnects(o.moves),
		BackOffPolicyFunc:           pauses(o.moves),
		Decryption:                  decryption(l.cfg.KeyReader),
		AutoDiscoveryPeriod:         never,
		MaxPendingChunkedMessage:    -1, // else the oldest is dropped when a hundred are not complete
		ExpireTimeOfIncompleteChunk: chunkTime(l.cfg.ChunkTimeout),
	})
}

// chunkTime is how long a goroutine of the library waits with each message in chunks. When that is no timeout of ours, it is ended
// then, and nothing else happens: see lines.
func chunkTime(timeout time.Duration) time.Duration { return cmp.Or(timeout, time.Minute) }

// reconnects returns how often a consumer attaches again when its connection has gone. One that brings messages never
// does: another may have had the lock meanwhile, the broker may have forgotten what it confirmed last, and the library drops
// what waits while its reader still hands over what comes after it.
func reconnects(always bool) *uint {
	if always {
		return nil
	}
	return new(uint)
}

// pauses returns how long a consumer waits before it tries something again. One that brings messages never does: beside its
// connection that is GetLastMessageIDs alone, which would wait for ever (v0.19.0) if the consumer were closed between two tries.
// It returns when its operation timeout ends.
func pauses(always bool) func() backoff.Policy {
	if always {
		return nil
	}
	return func() backoff.Policy { return endless{} }
}

// endless is a pause that never ends.
type endless struct{}

func (endless) Next() time.Duration { return never }

func (endless) IsMaxBackoffReached() bool { return true }

func (endless) Reset() {}

// decryption lets every message come that cannot be decrypted, told apart by its encryption context. By default the
// library keeps it back and rewinds the subscription a minute later: later messages would come before it.
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

// listener hears whom the broker proposes as owner.
type listener func(active bool)

func (l listener) BecameActive(pulsar.Consumer, string, int32) { l(true) }

func (l listener) BecameInactive(pulsar.Consumer, string, int32) { l(false) }
