package livetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/commit"
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
	Member    string // the process
	At        int64  // wall clock, nanoseconds
	Stream    string
	Partition int32
	Epoch     int64
	Offset    int64
	Key       string
	Number    int64 // position of the message among those of its key; see Stored and Written for theirs
	Attempt   int
	Text      string
	Progress  commit.Progress // of Accepted and Trying
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
	if e.Member == "" {
		e.Member = r.member
	}
	e.At = time.Now().UnixNano()
	if _, err := r.file.Write(e.line()); err != nil {
		panic(fmt.Errorf("livetest: write history: %w", err))
	}
}

// Close closes the file.
func (r *Recorder) Close() error { return r.file.Close() }

// Parse reads whole lines of a history. It counts the lines that are no event; a killed process can leave one. rest is the
// part after the last line feed.
func Parse(b []byte) (events []Event, torn int, rest []byte) {
	for {
		line, after, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			return events, torn, b
		}
		if b = after; len(line) == 0 {
			continue
		}
		e, err := parseEvent(string(line))
		if err != nil {
			torn++
			continue
		}
		events = append(events, e)
	}
}

// line returns the event as words. Members write too many for package json. The first line feed ends a line that SIGKILL has
// torn.
func (e *Event) line() []byte {
	b := append(make([]byte, 0, 200), '\n')
	for _, s := range [...]string{string(e.Kind), e.Member, e.Stream, e.Key} {
		b = append(append(b, s...), ' ')
	}
	for _, n := range [...]int64{e.At, int64(e.Partition), e.Epoch, e.Offset, e.Number, int64(e.Attempt)} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	if e.Kind == Accepted || e.Kind == Trying {
		progress, _ := json.Marshal(e.Progress)
		b = append(b, progress...)
	}
	return append(strconv.AppendQuote(append(b, ' '), e.Text), '\n')
}

func parseEvent(line string) (e Event, err error) {
	w := strings.SplitN(line, " ", 12)
	if len(w) != 12 {
		return e, io.ErrUnexpectedEOF
	}
	var n [6]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(w[4+i], 10, 64); err != nil {
			return e, err
		}
	}
	e = Event{
		Kind: Kind(w[0]), Member: w[1], Stream: w[2], Key: w[3],
		At: n[0], Partition: int32(n[1]), Epoch: n[2], Offset: n[3], Number: n[4], Attempt: int(n[5]),
	}
	if w[10] != "" {
		err = json.Unmarshal([]byte(w[10]), &e.Progress)
	}
	if err == nil {
		e.Text, err = strconv.Unquote(w[11])
	}
	return e, err
}
