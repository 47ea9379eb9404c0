package spill

import (
	"time"

	"github.com/keystrand/keystrand"
)

// Owner is one ownership of a partition.
type Owner struct {
	// Stream and Partition name the partition. Messages of its records have these names.
	Stream    string
	Partition int32
	// Epoch is the number of the ownership. It grows with every hand-over.
	Epoch int64
	// Log identifies the log that the offsets belong to, as commit.Progress.Log does. Empty: the source cannot tell, and all
	// such logs are the same.
	Log string
}

// Strand is a diverted key of a partition, as [Store].Open returns it.
type Strand struct {
	// Key is the key of the lane: any bytes, also none.
	Key string
	// From is the smallest From of the records that were appended: the offset at which the key was diverted.
	From int64
	// High is the largest offset that was appended, whether it is handled or not.
	High int64
	// Mark is the offset through which all records are handled. It never goes back. -1: none.
	Mark int64
	// Held reports whether the strand waits for an operator. Reason says why, in at most 1 KiB: the rest is cut.
	Held   bool
	Reason string
	// Records counts the records above Mark, Bytes the sum of their Message.Size, as Read returns them.
	Records, Bytes int64
	// Since is when the strand began, by the clock of the process that appended its first record.
	Since time.Time
	// Foreign reports whether the records belong to another log than Owner.Log: their offsets cannot be compared with those of
	// the messages that the source fetches now. Such a strand can be read, marked and removed as others. Append to it fails,
	// until it is removed.
	Foreign bool
	// Log is the log that the records belong to: Owner.Log when the strand began.
	Log string
}

// Record is one message for the log of its key.
type Record struct {
	// Key is the key of the strand.
	Key string
	// From is the offset at which the key was diverted, at most Message.Offset.
	From int64
	// Hold holds the strand for Reason, if the record is stored by this Append. False leaves it as it is: a new one is not held.
	Hold   bool
	Reason string
	// Message is the message. Its Stream and Partition are those of the Owner, its Offset is not negative.
	Message keystrand.Message
}

// Mark is a change of one strand.
type Mark struct {
	// Key is the key of the strand.
	Key string
	// Through is the offset through which all records are handled: these are deleted. -1, or any offset that is not above the
	// mark of the strand, leaves the mark as it is. 0 is an offset like any other.
	Through int64
	// Change is what else changes.
	Change Change
	// Reason is why the strand is held, with Hold.
	Reason string
}

// Change is what a [Mark] changes beside the offset.
type Change uint8

// Changes of a strand.
const (
	Keep   Change = iota // nothing
	Hold                 // the strand is held, for the Reason of the mark
	Resume               // the strand is held no longer
	Remove               // the strand and its mark are deleted; ErrRecordsLeft if records above Through are left
)

// Size limits what [Log].Read returns. A limit of 0 or less does not limit.
type Size struct {
	Messages int
	Bytes    int // the sum of Message.Size
}

// Full reports whether a message with this many bytes does not fit behind those that were counted in got.
func (limit Size) Full(got Size, bytes int) bool {
	if got.Messages == 0 {
		return false
	}
	return limit.Messages > 0 && got.Messages >= limit.Messages || limit.Bytes > 0 && got.Bytes+bytes > limit.Bytes
}

// AsStored returns m as a store keeps it. Its size is what Strand.Bytes counts for it.
//
//   - The bytes that its Native makes are its Value, if it had none. A tombstone stays one. Native is nil.
//   - Time and Fetched are in UTC, to the nanosecond, without a monotonic clock.
//   - Attempt and Epoch are 0: they belong to one ownership.
//
// The error is the one of the Native. The copy shares the bytes of m, but not the slice of its headers.
func AsStored(m *keystrand.Message) (keystrand.Message, error) {
	s := keystrand.Message{
		Key: m.Key, Value: m.Value, Headers: append([]keystrand.Header(nil), m.Headers...), Stream: m.Stream, Partition: m.Partition, Offset: m.Offset,
		Time: m.Time.Round(0).UTC(), Fetched: m.Fetched.Round(0).UTC(),
	}
	if m.Value != nil || m.Native == nil {
		return s, nil
	}
	v, err := m.Native.AppendValue(nil)
	if err != nil {
		return keystrand.Message{}, err
	}
	if n, ok := m.Native.(interface{ Tombstone() bool }); ok && n.Tombstone() {
		return s, nil
	}
	if v == nil {
		v = []byte{}
	}
	s.Value = v
	return s, nil
}
