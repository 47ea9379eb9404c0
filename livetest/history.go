package livetest

import (
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Place is a partition of a stream.
type Place struct {
	Stream    string
	Partition int32
}

func placeOf(id source.ID) Place { return Place{id.Stream, id.Partition} }

// Message is a message that was produced and that a member must settle.
type Message struct {
	Place
	Offset int64
	Key    string
	Number int64 // 0, 1, 2, … within its key
}

// Allowance lets a service forget commits that it has confirmed: those of the time Newest before the last one when a node
// ends, and those until the node is gone.
type Allowance struct {
	When   Kind // Crashing or Stopping
	Newest time.Duration
	Reason string
}

// History is a run.
type History struct {
	Produced []Message
	Events   []Event // of all processes, in order
	Torn     int     // lines torn by SIGKILL

	// Committed is what the service keeps at the end; nil if unknown.
	Committed map[Place]commit.Progress

	// Orderly: the test disturbs neither members nor service, so no partition is lost and no turns of a key overlap.
	Orderly bool
	// Unfinished: members are at work, and not all is settled.
	Unfinished bool
	// Withholds: the service tells a new owner nothing, but does not deliver what is acknowledged.
	Withholds bool
	// Forgets lists what a service that withholds may forget.
	Forgets []Allowance
	// Outputs: handlers emit one output a message; the message is settled when its output is durable.
	Outputs bool
	// Letters: some messages fail for good.
	Letters bool
	// Workers is how many turns of a member run at once. So many may have finished without being settled at a kill, and
	// so many may start while a lost partition cancels its handlers.
	Workers int
	// Writers is how many Writes of a member run at once. Their messages may be durable without being settled at a kill.
	Writers int
	// Stuck is a key whose messages need not be settled.
	Stuck string
}
