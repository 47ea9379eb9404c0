package keystrand

import (
	"slices"
	"time"
)

// Message is one message of a log.
//
// The bytes of Key, Value and Headers are immutable, and a source never reuses them, so a handler may keep them. The struct
// is valid until the handler returns; [Message.Clone] returns a copy that stays valid.
type Message struct {
	// Key is the key of the message in its log. Nil: the message has no key.
	Key []byte
	// Value is the payload. Nil is a tombstone, if the log supports tombstones.
	Value []byte
	// Headers are in the order of the log. Keys may repeat.
	Headers []Header
	// Time is the time of the event, as reported by the source, in UTC. The zero Time means none.
	Time time.Time
	// Stream is the topic, or the table of a binlog.
	Stream string
	// Partition is the number of the partition within the stream.
	Partition int32
	// Attempt counts the calls of the handler for this message, from 1. It is kept only in memory: after a restart it starts
	// at 1 again. Set by the pipeline.
	Attempt int32
	// Offset is the position in the partition. Offsets ascend and may skip numbers.
	Offset int64
	// Native is the source's own form of the message, for example a row of a binlog. Nil if the source has none.
	Native Native

	// Epoch is the number of the ownership under which the message was fetched. It increases with every hand-over of the
	// partition. A store can use it as a fencing token, to reject the write of a previous owner. Set by the pipeline.
	Epoch int64
	// Fetched is when the batch with this message arrived in this process. Set by the pipeline.
	Fetched time.Time

	decoded *decoded // the result of a Decoder for Value; nil if there is none
}

// Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}

// Native is a source's own form of a message. It is encoded to bytes only on demand. Its methods are called from any goroutine
// and must not block.
//
// One more method is optional: Tombstone() bool reports whether a message with this Native and a nil Value is a tombstone.
// AppendValue then appends nothing.
type Native interface {
	// AppendValue appends the value of the message, encoded without loss, to dst and returns the extended slice. It is called
	// when a sink or a store needs bytes.
	AppendValue(dst []byte) ([]byte, error)
	// Size returns the bytes that the Native holds in memory beside Key, Value and Headers: of a row that stands in place of
	// Value, all of them. Bytes that messages share do not count. It is constant and not negative. Message.Size adds it, and so
	// the byte limits of a pipeline count it. AppendValue may append more or fewer bytes.
	Size() int
}

// Clone returns a copy of m that stays valid after the handler returns. It shares the bytes, which are immutable, but not the
// decoded value: a [Decoder] decodes the copy again.
func (m *Message) Clone() *Message {
	c := *m
	c.decoded = nil
	c.Headers = slices.Clone(m.Headers)
	return &c
}

// isTombstone reports whether m has no value, not even one that its Native makes.
func (m *Message) isTombstone() bool {
	if m.Value != nil || m.Native == nil {
		return m.Value == nil
	}
	n, ok := m.Native.(interface{ Tombstone() bool })
	return ok && n.Tombstone()
}

// Header returns the value of the last header with this key and reports whether there is one.
func (m *Message) Header(key string) ([]byte, bool) {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Size returns the number of bytes in key, value and headers, and the Size of Native. The byte limits of a pipeline count it.
func (m *Message) Size() int {
	n := len(m.Key) + len(m.Value)
	if m.Native != nil {
		n += m.Native.Size()
	}
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}
