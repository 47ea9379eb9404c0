package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
)

// Source is where partitions come from, as a net.Listener is where connections come from.
type Source interface {
	// Accept returns the next partition that this process has come to own. It is called from one goroutine and blocks
	// until there is one. Faults that pass (a broker restarts, a coordinator moves) are healed inside, with backoff,
	// and told in the log; any error it returns is final. io.EOF: a finite source has no more; partitions that
	// were accepted before go on to their own ends. When ctx ends it returns context.Cause(ctx), having lost nothing: the
	// next Accept returns what this one would have.
	//
	// The same stream and number is never returned again before Release was called on its earlier Partition, be that
	// asked back or lost. It may come while that call is on its way back: what has to be over before, the caller ends
	// before it calls Release.
	Accept(ctx context.Context) (Partition, error)

	// Close gives up the membership and frees everything. It is called once, after Accept and the last Release have
	// returned, and ends all goroutines of the source.
	Close() error
}

// Partition is one ownership of one partition: an epoch of it.
//
// Each method says who calls it. Calls for different partitions come from different goroutines at the same time. A
// partition whose Fetch is not called never stops the others.
type Partition interface {
	// ID returns the partition's name and epoch. It does not change, does not block, and is called from anywhere.
	ID() ID

	// Restored returns what an earlier owner has committed and is never nil: Log and Epoch are those of this ownership,
	// Frontier is where Fetch begins, Ahead holds the ranges at or above it that are settled already. It does not
	// block. Ranges that were made from another log are not in it.
	Restored() *commit.Progress

	// Fetch fills b with the next messages and blocks until there is at least one, or until the position has moved
	// without any. It is called from one goroutine, not again until it has returned. It sets b.Messages (offsets
	// ascending) and b.Next, which is above every offset returned so far; b.Messages may be empty.
	//
	// When ctx ends it returns context.Cause(ctx) soon, having lost nothing: the next Fetch goes on at the same
	// position. After any error b holds nothing that counts. ErrLeaving: the partition was asked back or lost. io.EOF: a finite partition is at its end, and stays there. Any other
	// error is final for the partition and names its stream, number and offset.
	Fetch(ctx context.Context, b *Batch) error

	// Commit stores p where the next owner finds it, and returns when it is stored. One call at a time a partition;
	// the frontier never goes back from call to call. Calls for several partitions come together, so that a source
	// can send them as one request. It is called while the partition is leaving, too, and never after Release. Once the
	// partition is lost, it stores nothing. An error that wraps commit.ErrFenced means that the partition is lost. After
	// any other error the outcome is unknown and the next Commit carries progress at least as far.
	Commit(ctx context.Context, p *commit.Progress) (commit.Stored, error)

	// Leaving returns a channel with room for its at most two values: the partition is asked back, then lost; or lost
	// at once. It is never closed. The source must not let the partition go before Release, except when it is lost.
	Leaving() <-chan Leave

	// Release gives the partition up. It is called exactly once, always, and only after the last Fetch and Commit have
	// returned. Only now may the source tell others that it is free.
	Release(ctx context.Context) error
}

// ID is the name of a partition and the number of its ownership.
type ID struct {
	Stream    string
	Partition int32
	// Epoch is at least 1 and greater than that of every earlier ownership of the partition that has committed. One that
	// has committed nothing may have left no trace in a log that forgets idle groups.
	Epoch int64
}

// String returns stream/partition#epoch.
func (id ID) String() string { return fmt.Sprintf("%s/%d#%d", id.Stream, id.Partition, id.Epoch) }

// Leave says that the source wants a partition back.
type Leave struct {
	// Deadline is when the source will let go whatever happens; zero if it waits for ever.
	Deadline time.Time
	// Lost: somebody else may own the partition already. No commit is possible any more.
	Lost bool
}

// Batch is what one Fetch brings.
type Batch struct {
	// Messages is emptied by the caller before Fetch and appended to by the source, so its memory is used again. The
	// structs belong to the caller afterwards; their bytes are immutable and never reused.
	Messages []keystrand.Message
	// MaxMessages and MaxBytes bound what Fetch appends, at least 1 each. A single message larger than MaxBytes comes
	// alone.
	MaxMessages int
	MaxBytes    int
	// Next is the position after this batch, set by Fetch. It may move although there are no messages: control
	// records, aborted transactions, compacted tails, rows that are filtered out.
	Next int64
}

// ErrLeaving is what Fetch returns when the partition has been asked back or lost.
var ErrLeaving = errors.New("source: the partition is leaving")

// Lagger is implemented by partitions that know where their log ends.
type Lagger interface {
	// End returns the offset after the last message that Fetch could return now, as last heard, and whether it is
	// known. It does not block and is called from any goroutine.
	End() (int64, bool)
}

// Mover is implemented by sources whose partitions can go to another machine.
type Mover interface {
	// Moves tells whether another process, perhaps on another machine, can come to own a partition of this source.
	Moves() bool
}

// Stopper is implemented by sources that can have the next owner chosen while the one before drains.
type Stopper interface {
	// Stop says that the process stops: what was accepted drains and is released as ever, then Close is called. What was
	// not accepted may go to others at once; what was stays owned until its Release, but the source may let others be chosen for
	// it and wait, and does not ask it back because of that. It is called once at most, after the last Accept has
	// returned and from the same goroutine, and not where the source itself has come to its end (io.EOF). It does not
	// block.
	Stop()
}

// Prefetcher is implemented by sources that hold fetched messages back beside what Fetch has returned.
type Prefetcher interface {
	// Prefetch returns how many bytes at most the source holds for one partition. It is a constant.
	Prefetch() int
}

// Reporter is implemented by sources that report their state. A pipeline shows the report in its snapshot.
type Reporter interface {
	// Report returns the state of the source now. It does not block and is called from any goroutine.
	Report() Report
}

// Report is the state of a source at one moment.
type Report struct {
	// State is a word or two for people. Each source lists its own.
	State string
	// Ready reports whether the source takes part, with or without partitions. Readiness probes ask for it.
	Ready bool
	// Member is the name under which the brokers list this process. Empty if there is none.
	Member string
	// Trouble lists what fails now and is retried, sorted by name.
	Trouble []Trouble
	// Stalled lists the partitions that are below the end of their logs and make no progress for no reason in this
	// process.
	Stalled []ID
	// Losses counts the ownerships lost since the start.
	Losses Losses
}

// Losses counts ownerships that ended before Release. Another process could own their partitions at once.
type Losses struct {
	Count int64
	Last  ID        // the latest loss
	At    time.Time // of the latest loss
	Why   string    // of the latest loss
}

// Trouble is an operation that fails now and is retried.
type Trouble struct {
	What  string    // the operation: "join", "commit", …
	Err   error     // of the last attempt
	Since time.Time // of the first failure in a row
}
