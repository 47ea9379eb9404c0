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
	Asked    Kind = "asked"    // the source revokes it
	Lost     Kind = "lost"     // another member may own it already
	Released Kind = "released" // Release begins
	Trying   Kind = "trying"   // a commit begins; Progress
	Stored   Kind = "stored"   // that commit is stored; Number: how many messages a crash right after it would replay
	Started  Kind = "started"  // a handler begins; Text: empty or Behind
	Finished Kind = "finished" // a handler returns; Text: Settled, Failed or Cancelled
	Written  Kind = "written"  // the output of a message is durable; Number: messages in the Write
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

// Texts of Finished, and of Started.
const (
	Settled   = "settled"   // nil
	Failed    = "failed"    // an error: the message is retried, or the failure policy acts
	Cancelled = "cancelled" // an error after the end of ctx
	Behind    = "behind"    // the message is not the first of its call
)

// Event is one line of a history.
type Event struct {
	Kind      Kind
	Member    string          `json:",omitzero"` // the process
	At        int64           // wall clock, nanoseconds
	source.ID                 // of an ownership
	Offset    int64           `json:",omitzero"`
	Key       string          `json:",omitzero"`
	Number    int64           `json:",omitzero"` // of the message within its key, except for Stored and Written
	Attempt   int             `json:",omitzero"`
	Text      string          `json:",omitzero"`
	Progress  commit.Progress `json:",omitzero"` // of Accepted and Trying
}

func (e *Event) String() string {
	return fmt.Sprintf("%s %s %v@%d key %s", e.Member, e.Kind, e.ID, e.Offset, e.Key)
}

// Recorder writes the events of one process. It is safe for concurrent use.
type Recorder struct {
	file   *os.File
	member string
}

// NewRecorder opens or creates a history. Events without a Member get member.
func NewRecorder(path, member string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("livetest: %w", err)
	}
	return &Recorder{f, member}, nil
}

// Write appends an event with one system call. It panics if that fails, since a history with holes proves nothing.
func (r *Recorder) Write(e Event) {
	e.Member, e.At = cmp.Or(e.Member, r.member), time.Now().UnixNano()
	b, err := json.Marshal(e)
	if err == nil {
		_, err = fmt.Fprintf(r.file, "\n%s\n", b) // the first line feed ends a line that SIGKILL has torn
	}
	if err != nil {
		panic(fmt.Errorf("livetest: write history: %w", err))
	}
}

// Close closes the file.
func (r *Recorder) Close() error { return r.file.Close() }

// Parse reads whole lines of a history. It counts the lines that are no event; a killed process can leave one. rest is the
// part after the last line feed.
func Parse(b []byte) (events []Event, torn int, rest []byte) {
	end := bytes.LastIndexByte(b, '\n') + 1
	for line := range bytes.Lines(b[:end]) {
		var e Event
		switch {
		case len(line) == 1:
		case json.Unmarshal(line, &e) != nil:
			torn++
		default:
			events = append(events, e)
		}
	}
	return events, torn, b[end:]
}
