package pulsar

import (
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// Info is what Pulsar knows of a message beside its key, value and headers.
type Info struct {
	// ID is the position of the message.
	ID MessageID
	// PublishTime is when the producer sent the message, by the producer's clock.
	PublishTime time.Time
	// EventTime is zero if the producer gave none. Then Message.Time is PublishTime.
	EventTime time.Time
	// Producer is the name of the producer.
	Producer string
	// SequenceID is the producer's number of the message. It is -1 if it is not known.
	SequenceID int64
	// KeyKind is the form in which the key was sent. Message.Key is the same for text and bytes.
	KeyKind KeyKind
	// OrderingKey is the key by which Key_Shared subscriptions order the message, in place of its key. Empty: none.
	OrderingKey string
	// SchemaVersion identifies the schema within its topic. Nil: none. Do not change the bytes.
	SchemaVersion []byte
	// RedeliveryCount is the broker's count of deliveries before this one.
	RedeliveryCount uint32
}

// KeyKind is the form in which a producer sent a key.
type KeyKind uint8

// Kinds of keys.
const (
	KeyNone  KeyKind = iota // no key; Message.Key is nil
	KeyText                 // a string
	KeyBytes                // bytes, such as keyBytes of the Java client and separated key-value schemas send
	KeyNull                 // the null key of a separated key-value schema; Message.Key is nil
)

// String returns "none", "text", "bytes" or "null".
func (k KeyKind) String() string {
	switch k {
	case KeyText:
		return "text"
	case KeyBytes:
		return "bytes"
	case KeyNull:
		return "null"
	case KeyNone:
	}
	return "none"
}

// InfoOf returns the Info of a message that this source has read, also of its copies with another key or value. It reports
// false for other messages.
func InfoOf(m *keystrand.Message) (Info, bool) {
	n, ok := m.Native.(*pulsarwire.Native)
	if !ok {
		return Info{}, false
	}
	i := Info{
		SequenceID:  n.Sequence,
		KeyKind:     KeyKind(n.Kind),
		OrderingKey: n.Ordering,
	}
	if n.Event != 0 {
		i.EventTime = time.UnixMilli(n.Event).UTC()
	}
	if e := n.Entry; e != nil {
		i.ID = MessageID{Ledger: e.Ledger, Entry: e.Entry, Batch: n.Batch}
		i.PublishTime = time.UnixMilli(e.Published).UTC()
		i.Producer, i.SchemaVersion, i.RedeliveryCount = e.Producer, e.Schema, e.Redelivered
	}
	return i, true
}

// ByOrderingKey is a [keystrand.KeyFunc]. It orders messages as Key_Shared subscriptions do: by the ordering key, or by
// Message.Key where there is none. A message with neither is unordered.
//
// Producers choose a partition by the key alone. Messages with one ordering key and different keys can be in several
// partitions, and are ordered only within each.
func ByOrderingKey(m *keystrand.Message) (keystrand.Key, error) {
	if n, ok := m.Native.(*pulsarwire.Native); ok && n.Ordering != "" {
		return keystrand.KeyOfString(n.Ordering), nil
	}
	return keystrand.ByKey(m)
}
