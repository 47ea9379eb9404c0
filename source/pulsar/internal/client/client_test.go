package client

import (
	"log/slog"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"
	"github.com/apache/pulsar-client-go/pulsar/log"
)

const topic0 = "orders-partition-0"

// optionsClient records the options of a consumer.
type optionsClient struct {
	pulsar.Client
	got pulsar.ConsumerOptions
}

func (c *optionsClient) Subscribe(o pulsar.ConsumerOptions) (pulsar.Consumer, error) {
	c.got = o
	return nil, nil //nolint:nilnil // only the options count
}

// The fake broker of other tests ignores these options. A consumer that reconnects, mixes up a later lock with the one it lost,
// or does not wait for confirmations would pass them all.
func TestConsumerEndsWithItsConnection(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c, set: Settings{QueueSize: 7}}
	if _, err := l.Attach(Attachment{Topic: topic0, Subscription: "billing", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	o := c.got
	if o.MaxReconnectToBroker == nil || *o.MaxReconnectToBroker != 0 {
		t.Errorf("MaxReconnectToBroker is %v, want 0: another process may have had the lock meanwhile", o.MaxReconnectToBroker)
	}
	if o.BackOffPolicyFunc == nil || o.BackOffPolicyFunc().Next() < 24*time.Hour {
		t.Error("GetLastMessageIDs is retried; it never returns if the consumer is closed meanwhile")
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
		t.Error("a message that cannot be decrypted is held back; later ones would arrive before it")
	}
	if o.MaxPendingChunkedMessage >= 0 {
		t.Errorf("MaxPendingChunkedMessage is %d: above that number the oldest is dropped", o.MaxPendingChunkedMessage)
	}
	if o.ReceiverQueueSize != 7 || cap(o.MessageChannel) != ChannelSize {
		t.Errorf("queue %d and channel %d; Prefetch counts 7 and %d", o.ReceiverQueueSize, cap(o.MessageChannel), ChannelSize)
	}
	if o.Topic != topic0 || o.SubscriptionName != "billing" || o.Name != "a" {
		t.Errorf("consumer %s of topic %s, subscription %s", o.Name, o.Topic, o.SubscriptionName)
	}
	if o.NackRedeliveryDelay != 0 || o.DLQ != nil || o.RetryEnable {
		t.Error("the library may redeliver messages out of order")
	}
}

// To seek costs a consumer its connection. Seek returns when it has reconnected.
func TestConsumerThatSeeksReconnects(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c}
	if _, err := l.Attach(Attachment{Topic: topic0, Subscription: "billing", Seeks: true}); err != nil {
		t.Fatal(err)
	}
	if n := c.got.MaxReconnectToBroker; n != nil || c.got.BackOffPolicyFunc != nil {
		t.Errorf("MaxReconnectToBroker = %v, own pause %t; want the library's defaults", n, c.got.BackOffPolicyFunc != nil)
	}
}

func TestNewSubscriptionBeginsAtTheEndIfLatest(t *testing.T) {
	for latest, want := range map[bool]pulsar.SubscriptionInitialPosition{
		false: pulsar.SubscriptionPositionEarliest, true: pulsar.SubscriptionPositionLatest,
	} {
		c := &optionsClient{}
		l := &library{Client: c}
		if _, err := l.Attach(Attachment{Topic: topic0, Subscription: "billing", Latest: latest}); err != nil {
			t.Fatal(err)
		}
		if c.got.SubscriptionInitialPosition != want {
			t.Errorf("latest=%t: begins at %v, want %v", latest, c.got.SubscriptionInitialPosition, want)
		}
	}
}

// A subscription that receives messages, or is durable, would keep the broker from deleting acknowledged messages.
func TestCandidateReceivesNoMessages(t *testing.T) {
	c := &optionsClient{}
	l := &library{Client: c}
	var heard []bool
	_, err := l.Join(Candidacy{
		Topic: topic0, Subscription: "billing-owner", Name: "a", Changed: func(active bool) { heard = append(heard, active) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := c.got
	if o.Type != pulsar.Failover {
		t.Errorf("Type is %v, want Failover: the broker elects one", o.Type)
	}
	if o.SubscriptionMode != pulsar.NonDurable {
		t.Error("the subscription outlives its candidates")
	}
	if !o.EnableZeroQueueConsumer {
		t.Error("it requests messages")
	}
	if o.SubscriptionName != "billing-owner" || o.Name != "a" || o.AutoDiscoveryPeriod < 24*time.Hour {
		t.Errorf("candidate %s of subscription %s looks for partitions every %v", o.Name, o.SubscriptionName, o.AutoDiscoveryPeriod)
	}
	o.EventListener.BecameActive(nil, topic0, 0)
	o.EventListener.BecameInactive(nil, topic0, 0)
	if len(heard) != 2 || !heard[0] || heard[1] {
		t.Errorf("heard %v, want true, false", heard)
	}
}

// The hook of the user cannot replace the logger: only the logger reports a disconnect.
func TestLibraryAlwaysLogsToTheSource(t *testing.T) {
	var got []string
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{
		Disconnected: func(topic, subscription string) { got = append(got, topic+" "+subscription) },
	})
	o := l.options(pulsar.ClientOptions{Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler)), ListenerName: "inside"})
	if _, ours := o.Logger.(line); !ours {
		t.Fatalf("Logger is a %T", o.Logger)
	}
	if o.ListenerName != "inside" {
		t.Error("other options are lost")
	}
	o.Logger.SubLogger(map[string]any{"topic": topic0, "subscription": "billing"}).Debug(disconnects)
	if len(got) != 1 || got[0] != topic0+" billing" {
		t.Errorf("events = %q, want a disconnect of %s, billing", got, topic0)
	}
}

// The library keeps a goroutine for each message in chunks until its time is over. Then Log ends it, or reports the loss.
func TestChunkedMessageKeepsAGoroutineForAMinuteAtMost(t *testing.T) {
	for want, set := range map[time.Duration]Settings{time.Minute: {}, 6 * time.Hour: {ChunkTimeout: 6 * time.Hour}} {
		c := &optionsClient{}
		l := &library{Client: c, set: set}
		if _, err := l.Attach(Attachment{Topic: topic0, Subscription: "billing"}); err != nil {
			t.Fatal(err)
		}
		if got := c.got.ExpireTimeOfIncompleteChunk; got != want || c.got.AutoAckIncompleteChunk {
			t.Errorf("ExpireTimeOfIncompleteChunk = %v, want %v", got, want)
		}
	}
}
