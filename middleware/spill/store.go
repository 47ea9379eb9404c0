package spill

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand"
)

// Store keeps strands. It outlives the pipeline that uses it, and what it reports as durable outlives the process, unless the
// store says otherwise.
//
// Its methods are called from any number of goroutines.
type Store interface {
	// Shared reports whether processes on other machines use the same records. It is constant and does not block. A pipeline
	// refuses a store that is not shared if partitions of its source move between machines.
	Shared() bool

	// Open begins an ownership of a partition, before its first message is fetched. It returns every strand of the partition
	// that was not removed, in any order: held ones, those of another log, and those without records, because their marks
	// still count. Foreign is true for a strand that was made for another Owner.Log.
	//
	// Open claims the partition: after it, every call on the Log of an earlier Open of the same partition, by any process,
	// stores nothing and fails with an error that wraps commit.ErrFenced. So Open, Append and Save are atomic with respect to
	// each other, across processes too.
	//
	// Open itself fails with commit.ErrFenced if the store has seen a larger epoch for the same stream, partition and
	// Owner.Log. An equal one is the same owner, trying again. Epochs of different logs are not comparable: a log that was
	// made again may count from 1.
	//
	// Open may block, on I/O and on other users of the store, and returns soon after ctx ends. After an error other than
	// ErrFenced it may have claimed the partition all the same. An error names the store (its file, its database), stream and
	// partition, and tells what to do. It is not nil if any record that the store had is unreadable or missing: a store never
	// skips one. An error that wraps [ErrUnusable] will not heal: the caller gives up. It retries any other.
	Open(ctx context.Context, o Owner) (Log, []Strand, error)

	// Close frees all resources. It is called once, after Close of the last Log. Records stay.
	Close() error
}

// Log is one ownership of one partition.
//
// Append, Read and Save may run at the same time, also several of each; the pipeline has at most one Append of a Log under
// way. They may block on I/O and return soon after ctx ends. Each fails with an error that wraps
//
//   - commit.ErrFenced after a later Open of the partition. The partition is lost then; nothing was stored.
//   - [ErrUnusable] if the store is broken in a way that does not heal. The caller gives up.
//
// Any other error is one of the moment: the caller waits and calls again.
type Log interface {
	// Append stores records and returns when they are durable. A record whose offset is at or below the mark of its strand, or
	// is stored in it already, changes nothing, neither the record nor the strand. A record of a key that has no strand begins
	// one, with no mark. Records come in any order, also with smaller offsets than those that are stored. The records of one
	// Append may belong to many keys, and one may be there twice.
	//
	// After an error, any part of the records is stored, or none, so that the caller appends all of them again. An error that
	// wraps a *[RecordError] names a record that this store can never keep. Append has then stored nothing, and succeeds
	// without that record.
	//
	// Append keeps neither rs nor the structs in it after it has returned. It may keep the bytes, which are immutable.
	Append(ctx context.Context, rs []Record) error

	// Read returns the messages of a strand whose offsets are above after, in ascending order of offsets: as many as limit
	// allows, and the first one whatever its size. It returns none if there are none, or no strand. It returns what every Append
	// and Save has stored that returned before Read was called. It fails rather than leave out a record that it cannot read.
	//
	// The messages are equal to what [AsStored] makes of those appended. Epoch is the Owner's, and Attempt is 0.
	// Their bytes are immutable and belong to no buffer that is much larger than the messages.
	Read(ctx context.Context, key string, after int64, limit Size) ([]keystrand.Message, error)

	// Save stores marks, in their order, and returns when they are durable. A mark of a key that has no strand changes nothing.
	// After an error any part of them is stored, or none, so that the caller saves all of them again. An error that wraps
	// [ErrRecordsLeft] refuses a Remove, and no mark of that Save is stored.
	Save(ctx context.Context, ms []Mark) error

	// Close ends the use of the Log. It is called once, after all other calls have returned, also after the Log was fenced. It
	// stores nothing and does not wait for other machines. The claim of Open stays until the next Open.
	Close() error
}

// Errors of stores.
var (
	// ErrRecordsLeft reports that Save did not remove a strand, because it has records above the mark.
	ErrRecordsLeft = errors.New("spill: the strand has records above the mark")
	// ErrUnusable reports a store that does not work until somebody mends it: its file is corrupt, was written by a newer
	// version, or is used by another process; its tables are missing.
	ErrUnusable = errors.New("spill: the store is unusable")
	// ErrClosed reports a call on a Store or Log after its Close.
	ErrClosed = errors.New("spill: closed")
)

// RecordError reports a record that a store can never keep, because it is too large or its Native cannot be encoded.
type RecordError struct {
	// Record is the index of the record in the call of Append.
	Record int
	// Err is the reason.
	Err error
}

// Error implements error.
func (e *RecordError) Error() string { return "spill: the record cannot be stored: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }
