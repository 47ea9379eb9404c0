package livetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Kind names what an [Event] records.
type Kind string

// Events that a member writes.
const (
	Begun    Kind = "begun"    // the process runs a pipeline
	Ended    Kind = "ended"    // Run has returned; Text: its error
	Accepted Kind = "accepted" // the member owns a partition; Progress: as restored
	Lost     Kind = "lost"     // another member may own it already
	Released Kind = "released" // Release begins
	Trying   Kind = "trying"   // a commit begins; Progress
	Stored   Kind = "stored"   // that commit is stored; Count: messages that a crash right after it would replay
	Started  Kind = "started"  // a handler begins; Text: empty or Behind
	Finished Kind = "finished" // a handler returns; Text: Settled, Failed or Cancelled
	Written  Kind = "written"  // the output of a message is durable; Count: messages in the Write
	Lettered Kind = "lettered" // a dead letter was written
	Broken   Kind = "broken"   // the member found a fault itself; Text
)

// Events that the test writes.
const (
	Dying     Kind = "dying"     // the test is about to send SIGKILL to the member
	Killed    Kind = "killed"    // the member has exited
	Paused    Kind = "paused"    // the test is about to send SIGSTOP
	Continued Kind = "continued" // the test is about to send SIGCONT
	Crashing  Kind = "crashing"  // a node of the service is about to be killed
	Stopping  Kind = "stopping"  // a node is about to stop in order, or to give partitions away
	Gone      Kind = "gone"      // the node has stopped, or has given the partitions away
)

// Torn stands for a line that is no event. SIGKILL can tear one.
const Torn Kind = "torn"

// Texts of Finished, and of Started.
const (
	Settled   = "settled"   // nil
	Failed    = "failed"    // an error: the message is retried, or the failure policy acts
	Cancelled = "cancelled" // an error after the end of ctx
	Behind    = "behind"    // the message is not the first of its call
)

// Event is one line of a history.
type Event struct {
	Kind     Kind
	Member   string          `json:",omitzero"` // the process
	At       int64           // wall clock, nanoseconds
	Epoch    int64           `json:",omitzero"` // of an ownership
	Message                  // or the place alone
	Count    int             `json:",omitzero"`
	Text     string          `json:",omitzero"`
	Progress commit.Progress `json:",omitzero"` // of Accepted and Trying
}

func (e *Event) id() source.ID {
	return source.ID{Stream: e.Stream, Partition: e.Partition, Epoch: e.Epoch}
}

func (e *Event) String() string {
	return fmt.Sprintf("%s %s %v@%d key %s", e.Member, e.Kind, e.id(), e.Offset, e.Key)
}

// recorder writes the events of one process. It is safe for concurrent use.
type recorder struct {
	*os.File
	member string // of events without one
}

// newRecorder opens or creates a history.
func newRecorder(path, member string) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return &recorder{f, member}, err
}

// write appends an event with one system call. It panics if that fails, since a history with holes proves nothing.
func (r *recorder) write(e Event) {
	e.Member, e.At = cmp.Or(e.Member, r.member), time.Now().UnixNano()
	b, err := json.Marshal(e)
	if err == nil {
		_, err = fmt.Fprintf(r, "\n%s\n", b) // the first line feed ends a torn line
	}
	if err != nil {
		panic(fmt.Errorf("livetest: write history: %w", err))
	}
}

// parse reads whole lines of a history. rest is the part after the last line feed.
func parse(b []byte) (events []Event, rest []byte) {
	end := bytes.LastIndexByte(b, '\n') + 1
	for line := range bytes.Lines(b[:end]) {
		if len(line) == 1 {
			continue
		}
		var e Event
		if json.Unmarshal(line, &e) != nil {
			e = Event{Kind: Torn}
		}
		events = append(events, e)
	}
	return events, b[end:]
}
