package pipeline

import (
	"time"

	"github.com/keystrand/keystrand/source"
)

// Event is something that happened in a pipeline. [Builder.OnEvent] receives events, and [Pipeline.Events] lists the last ones.
type Event struct {
	Seq       uint64        // one more than that of the event before, over all partitions
	At        time.Time     // when it happened
	Kind      EventKind     // what happened; it says which of the fields below are set
	Partition source.ID     // zero for an event of the whole pipeline; Epoch is 0 if this process does not own the partition
	Key       string        // text of a lane, as in KeySnapshot; longer than 256 bytes it is cut and ends with "..."
	Took      time.Duration // how long it took
	Messages  int64
	Err       error
	By        string // name of the operator, if the call had one
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events, and the fields that they set beside Seq, At, Kind and Partition.
const (
	EventAccepted     EventKind = iota // this process owns the partition. Messages: offsets settled ahead by earlier owners
	EventLeaving                       // its release began. Err: ErrLeaving, ErrLost or ErrStopping of package keystrand
	EventDrained                       // its handlers and Writes have ended. Took: since EventLeaving. Messages: fetched and not settled
	EventReleased                      // the last of a partition. Took, Err: as before. Messages: will be redelivered
	EventLost                          // another process may own the partition already. Err: why
	EventCommitted                     // Took. Messages: settled since the commit before
	EventCommitFailed                  // Took. Err
	EventBlocked                       // the policy blocked Key. Err: what its handler returned
	EventHeld                          // the policy held Key. Err: what its handler returned
	EventDiverted                      // the messages of Key go to the store from now on
	EventDirect                        // the store has no message of Key any more
	EventResumed                       // an operator resumed Key, or all blocked keys if it is empty. Messages: keys, or those of a held Key in the store. By
	EventSkipped                       // an operator skipped the first message of the held Key. Messages: 1. By
	EventDropped                       // an operator dropped the messages of the held Key. Messages: how many. By
	EventPaused                        // an operator paused the partition
	EventUnpaused                      // an operator ended the pause
	EventWorkers                       // an operator set the maximum number of concurrent turns. Messages: to how many
	EventStopping                      // no more partitions are accepted. Err: why; nil at the end of a finite source
)

// String returns the kind, such as "commit failed".
func (k EventKind) String() string {
	return nameOf(k, "accepted", "leaving", "drained", "released", "lost", "committed", "commit failed", "blocked", "held", "diverted", "direct",
		"resumed", "skipped", "dropped", "paused", "unpaused", "workers", "stopping")
}

// mostEvents is how many events Pipeline.Events can return.
const mostEvents = 1024

// mostWaiting is how many events may wait for OnEvent.
const mostWaiting = 8 * mostEvents

// Events returns the last events behind the one with the number after, oldest first, at most 1,024; 0 means from the first. It
// leaves out EventCommitted, and of several EventCommitFailed in a row of a partition all but the first. It does not block.
func (p *Pipeline) Events(after uint64) []Event {
	r := p.report
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Event
	for i := range r.last {
		if e := r.last[(r.oldest+i)%len(r.last)]; e.Seq > after {
			list = append(list, e)
		}
	}
	return list
}
