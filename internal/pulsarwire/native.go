package pulsarwire

// KeyKind is the form in which a key was sent.
type KeyKind uint8

// Kinds of keys.
const (
	KeyNone  KeyKind = iota // the message has no key
	KeyText                 // a string
	KeyBytes                // bytes: base64 on the wire
	KeyNull                 // null, the key of a key-value pair
)

// Entry has what Pulsar knows of all messages of an entry. They share it.
type Entry struct {
	Ledger, Entry int64
	Published     int64 // in milliseconds
	Producer      string
	Schema        []byte
	Redelivered   uint32
}

// Native has what Pulsar knows of a message beside key, value and headers. The source sets it as Message.Native; the sink
// keeps the kind of the key and the ordering key.
type Native struct {
	*Entry // nil in a message that was not read

	Sequence int64
	Event    int64 // in milliseconds; 0: none
	Ordering string
	Batch    int32
	Kind     KeyKind
}

// AppendValue implements keystrand.Native. The value is in Message.Value: without it the message is a tombstone.
func (*Native) AppendValue(dst []byte) ([]byte, error) { return dst, nil }

// Tombstone implements an optional method of keystrand.Native.
func (*Native) Tombstone() bool { return true }

// Size implements keystrand.Native. Strings that messages share do not count.
func (n *Native) Size() int { return len(n.Ordering) }
