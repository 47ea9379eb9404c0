package keystrand

import "unsafe" //nolint:depguard // stringOf says why

// Key says which messages wait for each other: those that have a lane in common. The zero Key has none: its message is
// unordered and runs as soon as a worker is free.
type Key struct {
	lane string
	more []string
	kind keyKind
}

type keyKind uint8

const (
	unordered keyKind = iota
	ordered
	barrier
)

// KeyFunc returns the key of a message. It is called once a message, from the goroutine that fetches the partition,
// before any middleware, and must not block. An error is a failure of the message like a handler's.
type KeyFunc func(m *Message) (Key, error)

// KeyOf returns the key of one lane. The bytes must not change afterwards; a message's bytes never do. An empty slice
// is a key like any other, nil too: see [ByKey] for messages without one.
func KeyOf(lane []byte) Key { return Key{lane: stringOf(lane), kind: ordered} }

// KeyOfString is [KeyOf] for a string.
func KeyOfString(lane string) Key { return Key{lane: lane, kind: ordered} }

// KeysOf returns the key of a message that belongs to several lanes: it waits for all before it in any of them, and all
// after it in any of them wait for it. With no lane it is the zero Key.
func KeysOf(lanes ...string) Key {
	if len(lanes) == 0 {
		return Key{}
	}
	return Key{lane: lanes[0], more: lanes[1:], kind: ordered}
}

// Barrier returns the key of a message that runs alone: after all before it in its partition, before all after it.
func Barrier() Key { return Key{kind: barrier} }

// Lanes returns the lanes: the first, and those beside it. ok is false for an unordered message and for a barrier.
func (k Key) Lanes() (lane string, more []string, ok bool) { return k.lane, k.more, k.kind == ordered }

// IsBarrier tells whether k is a [Barrier].
func (k Key) IsBarrier() bool { return k.kind == barrier }

// ByKey orders messages by their own key; a message with a nil key is unordered. It is the default.
func ByKey(m *Message) (Key, error) {
	if m.Key == nil {
		return Key{}, nil
	}
	return KeyOf(m.Key), nil
}

// ByPartition keeps the order of the whole partition: one message of it at a time.
func ByPartition(*Message) (Key, error) { return Key{kind: ordered}, nil }

// Unordered keeps no order at all.
func Unordered(*Message) (Key, error) { return Key{}, nil }

// stringOf shares the bytes: they are immutable by the contract of Message, and a copy would cost an allocation each.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
