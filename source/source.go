package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/jsonform"
)

// Source supplies partitions to a pipeline, as a net.Listener supplies connections to a server.
type Source interface {
	// Accept returns the next partition that this process owns. It blocks until there is one, and is called from one
	// goroutine.
	//
	//   - A source retries transient errors (a broker restarts, a coordinator moves) with backoff and logs them. An error that
	//     Accept returns is final.
	//   - io.EOF itself means that a finite source has no more partitions. The accepted partitions continue to their ends. An
	//     error that wraps io.EOF is an error like any other: a lost connection often causes one.
	//   - When ctx ends, Accept returns context.Cause(ctx). The next Accept continues, and no partition is lost.
	//
	// Accept never returns a stream and partition number again before Release is called on its earlier Partition, even if that
	// was lost. Accept may return it while Release is still running. So the caller must finish all work on the old Partition
	// before it calls Release.
	Accept(ctx context.Context) (Partition, error)

	// Close leaves the group and frees all resources. It is called once, after Accept and the last Release have returned. All
	// goroutines of the source end before it returns.
	Close() error
}

// Partition is one ownership of one partition, identified by its epoch.
//
// Methods of different Partitions are called concurrently. A Partition whose Fetch is not called must not block the others.
type Partition interface {
	// ID returns the name and the epoch of the partition. It is constant. ID does not block and is called from any goroutine.
	ID() ID

	// Restored returns the progress that earlier owners have committed. It is never nil and does not block.
	//
	//   - Log and Epoch belong to this ownership.
	//   - Frontier is the offset at which Fetch starts.
	//   - Ahead has the settled ranges above it, but none that was committed for another log.
	//   - At is the one that was stored, under the same condition.
	Restored() *commit.Progress

	// Fetch appends the next messages to b.Messages, in ascending order of their offsets, and sets b.Next, which is above every
	// offset returned so far. It blocks until there is a message or the position moves without one, in which case b.Messages
	// stays empty. It is called from one goroutine at a time.
	//
	//   - When ctx ends, Fetch soon returns context.Cause(ctx). The next Fetch continues at the same position.
	//   - ErrLeaving means that the partition is revoked or lost.
	//   - io.EOF itself, not an error that wraps it, means that a finite partition is at its end.
	//   - Any other error is final for the partition. It names the stream, number and offset.
	//
	// On error, the caller ignores b.
	Fetch(ctx context.Context, b *Batch) error

	// Commit stores p for the next owner and returns when it is stored. It is called once at a time for each partition, even
	// while the partition is leaving, but never after Release. The frontier never decreases from call to call. At is that of
	// Restored: a source that begins again by At stores a copy of p with its own.
	//
	// Commits of several partitions are called at about the same time, so that a source can send them in one request.
	//
	// After the partition is lost, Commit must store nothing. An error that wraps commit.ErrFenced means that the partition is
	// lost. After any other error the result is unknown, and the next Commit has at least the same progress.
	//
	// Commit may store less than p, and says so in Stored. But what one Commit has stored, each later one stores, as long as the
	// log accepts so much: see commit.EncodeAfter. Keys that are diverted depend on it.
	Commit(ctx context.Context, p *commit.Progress) (commit.Stored, error)

	// Leaving returns a channel with capacity for at most two values: the partition is revoked, and the partition is lost.
	// The second may come without the first. The channel is never closed. Unless the partition is lost, the source must
	// not give it to another owner before Release.
	Leaving() <-chan Leave

	// Release gives up the partition, so that the source may give it to another owner. It is called exactly once, after the
	// last Fetch and Commit have returned.
	Release(ctx context.Context) error
}

// ID identifies one ownership of a partition.
type ID struct {
	Stream    string
	Partition int32
	// Epoch is the number of the ownership, at least 1. It is greater than the epoch of every earlier ownership of the partition
	// that has committed. A log that forgets idle groups may reuse the epoch of an ownership without a commit.
	Epoch int64
}

// String returns stream/partition#epoch.
func (id ID) String() string { return fmt.Sprintf("%s/%d#%d", id.Stream, id.Partition, id.Epoch) }

// Leave tells the pipeline that a partition is revoked or lost.
type Leave struct {
	// Deadline is the time at which the source gives up the partition even without a Release. Zero: it waits for ever.
	Deadline time.Time
	// Lost reports whether the partition is lost. Another process may already own it, and commits fail.
	Lost bool
}

// Batch has the limits and the results of one Fetch.
type Batch struct {
	// Messages has the fetched messages. The caller empties it before Fetch, and Fetch appends to it, which reuses its memory.
	// The structs belong to the caller. Their bytes are immutable and never reused.
	Messages []keystrand.Message
	// MaxMessages and MaxBytes bound the messages that Fetch appends. Both are at least 1. A message larger than MaxBytes is
	// returned alone.
	MaxMessages int
	MaxBytes    int
	// Next is the position after this batch, set by Fetch. It may move without messages, for example over control records,
	// aborted transactions, compacted tails and filtered rows.
	Next int64
}

// ErrLeaving is returned by Fetch when the partition is revoked or lost.
var ErrLeaving = errors.New("source: the partition is revoked or lost")

// Lagger is implemented by partitions that know the end of their log.
type Lagger interface {
	// End returns the offset after the last message that Fetch could return, as last reported by the log, and reports whether
	// it is known. It does not block and is called from any goroutine.
	End() (int64, bool)
}

// LogEnder is implemented by partitions whose log can hold messages that Fetch cannot return yet, such as the messages above
// the start of an open transaction.
type LogEnder interface {
	// LogEnd returns the offset after the last message of the log, whether Fetch could return it or not, and reports whether it
	// is known. It does not block and is called from any goroutine.
	LogEnd() (int64, bool)
}

// Claimer is implemented by partitions whose source commits the restored progress again, to claim them.
type Claimer interface {
	// Claimed returns the result of that commit. It is constant, does not block and is called from any goroutine.
	Claimed() commit.Stored
}

// Keyer is implemented by sources whose messages have other lanes than Message.Key, such as rows, which are ordered by their
// primary key and by every unique key. A pipeline without a key function of its own uses it.
type Keyer interface {
	// Key returns the lanes of a message, as a [keystrand.KeyFunc] does. Its error counts like an error of the handler.
	//
	//   - It is called before any middleware, concurrently for messages of different partitions, with no lock held. It must not
	//     block.
	//   - m is a message that Fetch returned, or one that comes back from a store of diverted keys: then Native is nil, and Value
	//     has the bytes of its AppendValue. Both have the same key.
	Key(m *keystrand.Message) (keystrand.Key, error)
}

// Mover is implemented by sources whose partitions can move to another machine.
type Mover interface {
	// Moves reports whether another process can become the owner of a partition of this source.
	Moves() bool
}

// Stopper is implemented by sources that can choose the next owner of a partition while the current owner drains it.
type Stopper interface {
	// Stop tells the source that the process is stopping. The pipeline then drains and releases the accepted partitions, and
	// calls Close.
	//
	// The source may give partitions that were not accepted to other processes at once. An accepted partition stays owned until
	// its Release. The source may already choose the next owner, which waits; it must not ask for the partition because of that.
	//
	// Stop is called at most once, after the last Accept has returned and from the same goroutine. It is not called after
	// Accept returned io.EOF. It does not block.
	Stop()
}

// Prefetcher is implemented by sources that hold messages that Fetch has not returned yet, and can bound their memory.
type Prefetcher interface {
	// LimitPrefetch bounds the bytes of these messages, over all partitions of the source. Each source documents by how much it
	// may exceed the limit. The pipeline calls it once, before the first Accept. It does not block.
	LimitPrefetch(bytes int)
	// Prefetched returns the bytes of these messages now; 0 when all partitions are released. It does not block and is
	// called from any goroutine.
	Prefetched() int64
}

// Describer is implemented by sources that can say what they read. A pipeline shows it in its snapshot, and metrics have it as
// labels.
type Describer interface {
	// Describe returns what the source reads. It is constant, does not block and is called from any goroutine.
	Describe() Description
}

// Description says what a source reads. It has no credentials.
type Description struct {
	System  string   // "kafka", "pulsar", "mysql", "drc", "memory", or that of another source; never empty
	Group   string   // the consumer group or subscription as configured; empty if the system has none
	Servers []string // host:port, or the path of a socket, as configured; nil if there is no server
}

// Reporter is implemented by sources that report their state. A pipeline shows the report in its snapshot.
type Reporter interface {
	// Report returns the state of the source now. It does not block and is called from any goroutine.
	Report() Report
}

// Report is the state of a source at one moment.
type Report struct {
	// State describes the state for operators in one or two words. Each source documents its states.
	State string
	// Ready reports whether the source is a member of its group, with or without partitions. Use it for readiness probes.
	Ready bool
	// Member is the name of this process in the lists of the brokers. Empty if it has none.
	Member string
	// Trouble lists the operations that fail now and are retried, and the partitions that stopped at a fault of their own until
	// somebody mends it, sorted by name.
	Trouble []Trouble
	// Stalled lists the partitions that have a backlog but make no progress, for no reason in this process.
	Stalled []ID
	// Losses counts the ownerships lost since the start.
	Losses Losses
}

// Losses counts ownerships that ended before Release. Another process could already own their partitions.
type Losses struct {
	Count int64
	Last  ID        // the latest ownership that was lost
	At    time.Time // time of the latest loss
	Why   string    // reason of the latest loss
}

// Trouble is an operation that fails now and is retried, or a partition that has stopped.
type Trouble struct {
	What  string    // the operation: "join", "commit", …, or "stopped" and the stream
	Err   error     // error of the last attempt
	Since time.Time // time of the first failure since the last success
}

// MarshalJSON returns the fields; Err is its text.
func (t Trouble) MarshalJSON() ([]byte, error) { return jsonform.Marshal(t) }

// UnmarshalJSON reads the form of MarshalJSON.
func (t *Trouble) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, t) }
