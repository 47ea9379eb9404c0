package pipeline

import (
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// counters are totals since the start of Run.
type counters struct {
	settled, skipped, failed, retried, postponed, deadLettered, written, outputs atomic.Int64
}

// Snapshot describes a pipeline at one moment. It is a value that does not change.
//
// The figures of one partition are consistent; those of different partitions were taken one after the other.
//
// The JSON of a Snapshot can be read back, and loses nothing but the types of errors: an error is its text, a time.Duration a text
// with units ("1m30s"), a constant its String. The text of a key is that of its keystrand.Lane, from which keystrand.ParseLane makes
// the bytes again. Numbers may be above 2^53, which JavaScript rounds.
type Snapshot struct {
	Name       string // of Builder.Name
	State      State
	At         time.Time
	Started    time.Time           // when Run began; zero before
	System     string              // source.Description.System; empty if the source is no source.Describer
	Group      string              // of the same
	Servers    []string            // of the same
	Limits     Limits              // in force, with defaults and the last SetWorkers
	Timing     Timing              // in force, with defaults
	Partitions []PartitionSnapshot // sorted by stream and number
	Source     source.Report       // zero if the source is no source.Reporter
	Sinks      []SinkTrouble       // the sinks that cannot be written now

	Settled      int64 // messages settled since the start of Run
	Skipped      int64 // of these: without effect
	Failed       int64 // messages for which the failure policy was called; each counts once an ownership
	Retried      int64 // handler calls that asked for a retry
	Postponed    int64 // handler calls that asked for Later
	DeadLettered int64 // of the settled: with a durable dead letter
	Written      int64 // of the settled: with durable outputs
	Outputs      int64 // durable outputs of these

	Turns int64         // calls of the handler chain that have returned, and turns of the pipeline itself
	Busy  time.Duration // time that all workers have spent in turns, with those that run; it never decreases

	Diverting DivertSnapshot // the diverted keys of all partitions; zero without Builder.Divert

	Workers int // maximum number of concurrent turns
	Running int // running turns
	Ready   int // lanes waiting for a worker
	Parked  int // lanes waiting for a time or for an operator

	InFlight      int   // messages fetched and not settled
	InFlightBytes int   // their bytes
	Prefetched    int64 // bytes that the source holds beside these; 0 if it is no source.Prefetcher
	PrefetchLimit int   // Limits.PrefetchBytes; 0 if the source is no source.Prefetcher
	MostInFlight  int   // highest InFlight so far
	MostBytes     int   // highest InFlightBytes so far
	Oversized     int64 // messages admitted alone because they exceed Limits.InFlightBytes

	Bottleneck Bottleneck // the current limit on throughput
}

// PartitionSnapshot describes a partition at one moment.
type PartitionSnapshot struct {
	ID         source.ID
	AcceptedAt time.Time

	Frontier int64 // every message below it is settled
	Position int64 // offset of the next fetch
	End      int64 // last known end of the log; -1 if unknown
	Lag      int64 // offsets from Frontier to End; -1 if unknown
	LogEnd   int64 // End with the messages that open transactions hold back; -1 if unknown
	LogLag   int64 // offsets from Frontier to LogEnd; -1 if unknown

	Ahead         int64          // settled messages at or above the frontier
	RestoredAhead int64          // offsets that earlier owners settled ahead of the frontier, not fetched again yet
	Gaps          int            // unsettled stretches from the frontier to the last settled message ahead
	AheadRanges   []commit.Range // settled ranges behind the first 64 of these
	Replays       int64          // maximum settled offsets that a crash now would redeliver

	Committed      int64         // last committed frontier
	CommittedAt    time.Time     // zero before the first commit of this epoch
	CommitErr      error         // error of the last commit; nil if it was stored
	CommitErrSince time.Time     // when commits began to fail; zero if CommitErr is nil
	LastCommitTook time.Duration // of the last commit, stored or not

	InFlight        int           // messages that count for Limits.InFlight
	InFlightBytes   int           // their bytes
	Guaranteed      int           // messages that are reserved for this partition
	GuaranteedBytes int           // bytes that are
	OldestAge       time.Duration // since the oldest unsettled message was fetched; 0 if there is none

	// Accepted = Settled + Running + Ready + Parked + Sinking + Dropped, in messages of this epoch. A Sinking message has
	// outputs or a dead letter that are not durable yet. The lanes are counted at one moment; a message may count as either
	// Sinking or Settled if its outputs become durable at that moment.
	Accepted, Settled, Running, Ready, Parked, Sinking, Dropped int64

	Waits  Wait // why its fetching waits
	Paused bool // by PausePartition

	Leaving   *LeavingSnapshot // nil unless it is being released
	Stuck     int              // handlers that have not returned although their ctx has ended
	StuckKeys []string         // texts of the lanes of at most 10 of them

	Oldest     *KeySnapshot  // key of the oldest unsettled message; nil if none is in a lane or on the way to a sink
	HotKeys    []KeySnapshot // at most 10 keys with the most waiting messages, most first
	ParkedKeys []KeySnapshot // at most 10 keys that are parked or wait for a sink, longest waiting first

	Diverting DivertSnapshot   // its diverted keys; zero without Builder.Divert
	Strands   []StrandSnapshot // at most 10 diverted keys, those with the most records first
}

// LeavingSnapshot describes the release of a partition.
type LeavingSnapshot struct {
	Cause    error     // ErrLeaving, ErrLost or ErrStopping of package keystrand
	Since    time.Time // when it began
	Until    time.Time // when the ctx of its handlers ends; zero if that is not known
	Deadline time.Time // when the source gives the partition up in any case; zero if never
}

// KeySnapshot describes a key of a partition at one moment.
type KeySnapshot struct {
	Key     string        // text of its lane (keystrand.Lane), for Resume; empty for a message without order
	Waiting int           // number of messages in its lane
	Offset  int64         // offset of the first message
	Age     time.Duration // time since the first message was fetched
	Since   time.Time     // when Why began to be so; zero if that is not known
	Attempt int           // attempts of the first message that have ended
	Why     Why           // why the first message waits
	Err     string        // what its last attempt returned; empty if none has failed
	Until   time.Time     // when it is retried, for WhyRetry, and WhyBlocked after BlockFor; else zero

	Unordered bool // the lane has one message without a key, or a barrier
	Barrier   bool // the lane has a barrier
}

// Why says why a key's first message waits.
type Why uint8

// Reasons for a key to wait.
const (
	WhyWorker  Why = iota // for a free worker
	WhyHandler            // for its handler, which runs
	WhyRetry              // for the time of its next attempt
	WhyBlocked            // for Resume, or the end of BlockFor's pause
	WhyEarlier            // for a handler of an earlier epoch, which still runs
	WhySink               // for its outputs, which are not durable yet
	WhyLetter             // for its dead letter, which is not durable yet
	WhyLog                // diverted: for the store, to append or to read
	WhyHeld               // diverted: for an operator, see Pipeline.Held
)

// String returns the reason, such as "a worker".
func (w Why) String() string {
	return nameOf(w, "a worker", "its handler", "its next attempt", "Resume", "the handler of an earlier epoch", "its sink", "its dead letter", "the store", "an operator")
}
