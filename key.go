package keystrand

import "unsafe" //nolint:depguard // stringOf says why

// Key is the set of lanes of a message. Messages that share a lane run in order. The zero Key has no lane: its message is
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

// KeyFunc returns the key of a message. It is called once per message, from the goroutine that fetches the partition, before
// any middleware. It is called again for a message without order that comes back from a store of diverted keys. It must not
// block. Its error counts like an error of the handler.
//
// Messages of one key are in order within their partition only. If the key is a field of the value, messages of one key may be
// in several partitions, and then have no order: let producers choose the partition by the same field.
type KeyFunc func(m *Message) (Key, error)

// KeyOf returns the Key with one lane. The caller must not change the bytes afterwards; the bytes of a message never change.
// An empty or nil slice names the lane with the empty name. See [ByKey] for messages without a key.
func KeyOf(lane []byte) Key { return Key{lane: stringOf(lane), kind: ordered} }

// KeyOfString is [KeyOf] for a string.
func KeyOfString(lane string) Key { return Key{lane: lane, kind: ordered} }

// KeysOf returns the Key of a message in several lanes. The message waits for every earlier message in any of the lanes, and
// every later message in any of them waits for it. Without lanes KeysOf returns the zero Key.
func KeysOf(lanes ...string) Key {
	if len(lanes) == 0 {
		return Key{}
	}
	return Key{lane: lanes[0], more: lanes[1:], kind: ordered}
}

// Barrier returns the Key of a message that runs alone: after every earlier message of its partition and before every later
// one.
func Barrier() Key { return Key{kind: barrier} }

// Lanes returns the first lane and the others. ok is false for an unordered message and for a barrier.
func (k Key) Lanes() (lane string, more []string, ok bool) { return k.lane, k.more, k.kind == ordered }

// IsBarrier reports whether k is a [Barrier].
func (k Key) IsBarrier() bool { return k.kind == barrier }

// ByKey orders messages by Message.Key. A message with a nil key is unordered. ByKey is the default, unless the source has a
// key function of its own.
func ByKey(m *Message) (Key, error) {
	if m.Key == nil {
		return Key{}, nil
	}
	return KeyOf(m.Key), nil
}

// ByPartition runs the messages of a partition one at a time, in the order of the log.
func ByPartition(*Message) (Key, error) { return Key{kind: ordered}, nil }

// Unordered keeps no order.
func Unordered(*Message) (Key, error) { return Key{}, nil }

// stringOf returns a string that shares the bytes of b. The bytes are immutable by the contract of Message, and a copy would
// cost an allocation per message.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
