package fetch

import (
	"context"

	"github.com/keystrand/keystrand/source"
)

// Reader reads one partition from a start offset on.
//
// Read is called from one goroutine at a time; the other methods from any.
type Reader struct {
	cfg Config
}

// NewReader returns a reader that begins at offset start. It makes no request before the first Read.
func NewReader(cfg Config, topic string, partition int32, start int64) *Reader {
	return &Reader{cfg: cfg.withDefaults()}
}

// Read has the semantics of source.Partition.Fetch: it appends to b.Messages up to b.MaxMessages and b.MaxBytes, sets
// b.Next, and blocks until there is a message or the position has moved without one. Faults that pass are healed
// inside and logged. When ctx ends it returns context.Cause(ctx) at once and loses nothing: a response that arrives
// later is used by the next Read. Any other error is final: ErrTopicGone, ErrRecreated, ErrClosed, *OutOfRangeError,
// *CorruptError, *PermissionError; the next Read returns it again.
func (r *Reader) Read(ctx context.Context, b *source.Batch) error {
	return ErrClosed
}

// Position returns the offset at which the next Read goes on.
func (r *Reader) Position() int64 { return 0 }

// End returns the offset after the last record that can be read now, as last heard, and whether it is known: the high
// watermark, or the last stable offset when reading committed records only.
func (r *Reader) End() (int64, bool) { return 0, false }

// LeaderEpoch returns the leader epoch of the last batch below frontier, or -1 if it is not known. Frontiers never go
// back from call to call.
func (r *Reader) LeaderEpoch(frontier int64) int32 { return -1 }

// LogID returns the identity of the log that is read, empty while it is not known or where brokers have none.
func (r *Reader) LogID() string { return "" }

// Stalled tells whether the position has stood below the end for StallTimeout.
func (r *Reader) Stalled() bool { return false }

// Prefetch returns how many bytes of records the reader holds at most beside what Read returned. A single batch that
// is larger than MaxBytes comes on top, while it is read.
func (r *Reader) Prefetch() int { return 0 }

// Close ends the reader and its request under way. It waits for its goroutine, not for the broker.
func (r *Reader) Close() {}
