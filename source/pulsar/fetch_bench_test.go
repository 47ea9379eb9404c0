package pulsar

import (
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// plainMessage is a message whose methods cost nothing.
type plainMessage struct {
	pulsar.Message
	id    testID
	value []byte
	at    time.Time
}

func (m *plainMessage) ID() pulsar.MessageID                            { return &m.id }
func (m *plainMessage) Key() string                                     { return "key" }
func (m *plainMessage) Payload() []byte                                 { return m.value }
func (m *plainMessage) Properties() map[string]string                   { return nil }
func (m *plainMessage) EventTime() time.Time                            { return m.at }
func (m *plainMessage) PublishTime() time.Time                          { return m.at }
func (m *plainMessage) ProducerName() string                            { return noted }
func (m *plainMessage) OrderingKey() string                             { return "" }
func (m *plainMessage) SchemaVersion() []byte                           { return nil }
func (m *plainMessage) RedeliveryCount() uint32                         { return 0 }
func (m *plainMessage) Index() *uint64                                  { return nil }
func (m *plainMessage) GetEncryptionContext() *pulsar.EncryptionContext { return nil }

// noted is the name of a producer, with a note.
var noted = pulsarwire.Note{}.Name("standalone-0-0")

// plainConsumer delivers the messages in its channel.
type plainConsumer struct {
	client.Consumer
	ch chan pulsar.ConsumerMessage
}

func (c *plainConsumer) Chan() <-chan pulsar.ConsumerMessage { return c.ch }
func (c *plainConsumer) AckIDList([]pulsar.MessageID) error  { return nil }

// BenchmarkFetch fetches messages, each an entry of its own, 500 at a time, and settles them. An operation is a message.
func BenchmarkFetch(b *testing.B) {
	const size = 500
	s, err := New("pulsar://x", "billing", []string{"orders"}, Config{})
	if err != nil {
		b.Fatal(err)
	}
	c := &plainConsumer{ch: make(chan pulsar.ConsumerMessage, size)}
	p := newPartition(newContender(s, "orders", "orders", 0, false), source.ID{Stream: "orders", Epoch: 1}, c, &commit.Progress{Epoch: 1})
	go p.acker.Run(b.Context())
	messages := make([]plainMessage, size)
	value := make([]byte, 100)
	batch := source.Batch{MaxMessages: size, MaxBytes: 1 << 20}
	entry := int64(0)
	b.ReportAllocs()
	for n := 0; n < b.N; n += size {
		b.StopTimer()
		for i := range messages {
			messages[i] = plainMessage{id: testID{ledger: 1, entry: entry % (1 << entryBits), batch: -1}, value: value, at: time.Unix(1, 0)}
			messages[i].id.ledger += entry >> entryBits
			entry++
			c.ch <- pulsar.ConsumerMessage{Message: &messages[i]}
		}
		b.StartTimer()
		batch.Messages = batch.Messages[:0]
		if err := p.Fetch(b.Context(), &batch); err != nil || len(batch.Messages) != size {
			b.Fatal(err, len(batch.Messages))
		}
		b.StopTimer()
		if _, err := p.acker.Commit(b.Context(), &commit.Progress{Frontier: batch.Next}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
