package pulsar

import (
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"
)

// optionsClient notes what the library is asked for, and makes nothing.
type optionsClient struct {
	pulsar.Client
	got pulsar.ConsumerOptions
}

func (c *optionsClient) Subscribe(o pulsar.ConsumerOptions) (pulsar.Consumer, error) {
	c.got = o
	return nil, nil //nolint:nilnil // the options are what is looked at
}

// The fake broker stands in front of these options: a consumer that attaches again by itself, mixes up a later lock with the one it
// lost, or leaves acknowledgements unconfirmed, would pass every other test.
func TestConsumerOfTheMessagesEndsWithItsConnection(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c, cfg: Config{ReceiverQueueSize: 7}}
	if _, err := l.attach(attachment{topic: topic0, subscription: "billing", name: "a"}); err != nil {
		t.Fatal(err)
	}
	o := c.got
	if o.MaxReconnectToBroker == nil || *o.MaxReconnectToBroker != 0 {
		t.Errorf("MaxReconnectToBroker is %v, want 0: another may have had the lock meanwhile", o.MaxReconnectToBroker)
	}
	if o.BackOffPolicyFunc == nil || o.BackOffPolicyFunc().Next() < 24*time.Hour {
		t.Error("GetLastMessageIDs is tried again, which never returns when the consumer was closed meanwhile")
	}
	if o.Type != pulsar.Exclusive {
		t.Errorf("Type is %v, want Exclusive: it is the lock", o.Type)
	}
	if !o.AckWithResponse {
		t.Error("AckWithResponse is off: a refused acknowledgement would count as confirmed")
	}
	if o.EnableBatchIndexAcknowledgment {
		t.Error("EnableBatchIndexAcknowledgment is on: brokers can forget acknowledgements inside a batch and keep later ones")
	}
	if o.Decryption == nil || o.Decryption.ConsumerCryptoFailureAction != crypto.ConsumerCryptoFailureActionConsume {
		t.Error("a message that cannot be decrypted is kept back: later ones would come before it")
	}
	if o.MaxPendingChunkedMessage >= 0 {
		t.Errorf("MaxPendingChunkedMessage is %d: above it the oldest would be dropped", o.MaxPendingChunkedMessage)
	}
	if o.ReceiverQueueSize != 7 || cap(o.MessageChannel) != channelSize {
		t.Errorf("%d messages are asked for ahead and %d held, want 7 and %d", o.ReceiverQueueSize, cap(o.MessageChannel), channelSize)
	}
	if o.Topic != topic0 || o.SubscriptionName != "billing" || o.Name != "a" {
		t.Errorf("%s attaches to %s with the subscription %s", o.Name, o.Topic, o.SubscriptionName)
	}
	if o.NackRedeliveryDelay != 0 || o.DLQ != nil || o.RetryEnable {
		t.Error("the library is asked to bring messages again out of order")
	}
}

// To move a subscription costs its consumer the connection, and Seek returns when it is attached again.
func TestConsumerThatMovesTheSubscriptionAttachesAgain(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c}
	if _, err := l.attach(attachment{topic: topic0, subscription: "billing", moves: true}); err != nil {
		t.Fatal(err)
	}
	if n := c.got.MaxReconnectToBroker; n != nil || c.got.BackOffPolicyFunc != nil {
		t.Errorf("MaxReconnectToBroker is %v, with a pause of ours %t; want both to be the library's own", n, c.got.BackOffPolicyFunc != nil)
	}
}

func TestNewSubscriptionBeginsWhereItIsToldTo(t *testing.T) {
	for latest, want := range map[bool]pulsar.SubscriptionInitialPosition{
		false: pulsar.SubscriptionPositionEarliest, true: pulsar.SubscriptionPositionLatest,
	} {
		c := &optionsClient{}
		l := &library{Client: c}
		if _, err := l.attach(attachment{topic: topic0, subscription: "billing", latest: latest}); err != nil {
			t.Fatal(err)
		}
		if c.got.SubscriptionInitialPosition != want {
			t.Errorf("latest=%t: begins at %v, want %v", latest, c.got.SubscriptionInitialPosition, want)
		}
	}
}

// A candidate with messages, or one that lasts, would hold back the broker from deleting what the topic has settled.
func TestCandidateIsChosenAndGetsNoMessages(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c}
	var heard []bool
	_, err := l.candidate(candidacy{
		topic: topic0, subscription: "billing-owner", name: "a", changed: func(active bool) { heard = append(heard, active) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := c.got
	if o.Type != pulsar.Failover {
		t.Errorf("Type is %v, want Failover: the broker chooses one", o.Type)
	}
	if o.SubscriptionMode != pulsar.NonDurable {
		t.Error("the subscription outlives its candidates")
	}
	if !o.EnableZeroQueueConsumer {
		t.Error("it asks for messages")
	}
	if o.SubscriptionName != "billing-owner" || o.Name != "a" || o.AutoDiscoveryPeriod < 24*time.Hour {
		t.Errorf("%s stands for %s, and looks for partitions each %v", o.Name, o.SubscriptionName, o.AutoDiscoveryPeriod)
	}
	o.EventListener.BecameActive(nil, topic0, 0)
	o.EventListener.BecameInactive(nil, topic0, 0)
	if len(heard) != 2 || !heard[0] || heard[1] {
		t.Errorf("heard %v, want that it is active, and then not", heard)
	}
}

// Nothing but the library's log says that a connection goes.
func TestClientWritesItsLogToTheSource(t *testing.T) {
	s, err := New("pulsar://127.0.0.1:1", "billing", []string{"orders"}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	s.lines.broke = func(topic, subscription string) { heard = append(heard, topic+" "+subscription) }
	got := s.options()
	if got.Logger == nil {
		t.Fatal("the library has a log of its own")
	}
	got.Logger.SubLogger(map[string]any{"topic": topic0, "subscription": "billing"}).Debug(goes)
	if len(heard) != 1 || heard[0] != topic0+" billing" {
		t.Errorf("heard %q, want %s of billing", heard, topic0)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The library has a goroutine for each message in chunks, until its time is over; then it does what lines.hear forbids, or is told to.
func TestMessagesInChunksKeepNoGoroutineForLong(t *testing.T) {
	for want, cfg := range map[time.Duration]Config{time.Minute: {}, 6 * time.Hour: {ChunkTimeout: 6 * time.Hour}} {
		c := &optionsClient{}
		l := &library{Client: c, cfg: cfg.withDefaults()}
		if _, err := l.attach(attachment{topic: topic0, subscription: "billing"}); err != nil {
			t.Fatal(err)
		}
		if got := c.got.ExpireTimeOfIncompleteChunk; got != want || c.got.AutoAckIncompleteChunk {
			t.Errorf("the time of a message in chunks is over after %v, want %v", got, want)
		}
	}
}
