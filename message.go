package keystrand

import (
	"slices"
	"time"
)

// Message is one message of a log.
//
// The bytes of Key, Value and Headers are immutable and are never reused by a source, so a handler may keep them for
// ever. The struct itself is valid until the handler returns; [Message.Clone] keeps it longer.
type Message struct {
	// Key says which messages belong together. A nil key is a message without one.
	Key []byte
	// Value is the payload. Nil is a tombstone where the log knows such things.
	Value []byte
	// Headers come in the order of the log. Keys may repeat.
	Headers []Header
	// Time is the time of the event, as the source gives it.
	Time time.Time
	// Stream is the topic, or the table of a binlog.
	Stream string
	// Partition is the number of the partition within the stream.
	Partition int32
	// Attempt counts the calls of the handler for this message: 1, 2, and so on. It lives in memory only: after a
	// restart it begins at 1 again. Set by the pipeline.
	Attempt int32
	// Offset is the position in the partition. Offsets ascend and may skip numbers.
	Offset int64
	// Native is the source's own form of the message, for instance a row of a binlog. Nil for plain logs.
	Native Native

	// Epoch is the number of the ownership under which the message was fetched. It grows with every hand-over of the
	// partition, so a store can refuse the write of an owner that is no more (a fencing token). Set by the pipeline.
	Epoch int64
	// Fetched is when the batch with this message arrived in this process. Set by the pipeline.
	Fetched time.Time

	decoded *decoded // what a Decoder has made of Value; nil for nothing
}

// Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}

// Native is a message's form in its source, kept as it is instead of being turned into bytes and back.
type Native interface {
	// AppendValue appends the lossless bytes form of the message's value to dst and returns the longer slice. It is
	// called only when a sink or a side log needs bytes, from any goroutine, and does not block.
	AppendValue(dst []byte) ([]byte, error)
}

// Clone returns a copy of m that stays valid after the handler has returned. The bytes are shared: they are immutable.
// A [Decoder] decodes the copy anew.
func (m *Message) Clone() *Message {
	c := *m
	c.decoded = nil
	c.Headers = slices.Clone(m.Headers)
	return &c
}

// Header returns the value of the last header with this key, and whether there is one.
func (m *Message) Header(key string) ([]byte, bool) {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Size returns the bytes of key, value and headers: what byte budgets count.
func (m *Message) Size() int {
	n := len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}
