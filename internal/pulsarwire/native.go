package pulsarwire

import "time"

// KeyKind is the form in which a key was sent.
type KeyKind uint8

// Kinds of keys.
const (
	KeyNone  KeyKind = iota // the message has no key
	KeyText                 // a string
	KeyBytes                // bytes: base64 on the wire
	KeyNull                 // null, the key of a key-value pair
)

// Native has what Pulsar knows of a message beside key, value and headers. The source sets it as Message.Native; the sink
// keeps the kind of the key and the ordering key.
type Native struct {
	Ledger, Entry int64
	Batch         int32
	Kind          KeyKind
	Redelivered   uint32
	Sequence      int64
	Published     time.Time
	Event         time.Time
	Producer      string
	Ordering      string
	Schema        []byte
}

// AppendValue implements keystrand.Native. The value is in Message.Value: without it the message is a tombstone.
func (*Native) AppendValue(dst []byte) ([]byte, error) { return dst, nil }

// Tombstone implements an optional method of keystrand.Native.
func (*Native) Tombstone() bool { return true }

// Size implements an optional method of keystrand.Native. Strings that messages share do not count.
func (n *Native) Size() int { return len(n.Ordering) }
