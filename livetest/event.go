package livetest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind says what an [Event] tells.
type Kind byte

// What a member writes.
const (
	Begun    Kind = 'B' // the process runs a pipeline
	Ended    Kind = 'X' // Run has returned; Text: its error
	Accepted Kind = 'A' // a partition is owned; Progress: what was restored
	Asked    Kind = 'L' // the source asks it back
	Lost     Kind = 'l' // the source says that it may be another's already
	Released Kind = 'R' // Release begins
	Trying   Kind = 'c' // a commit begins; Progress
	Stored   Kind = 'C' // the commit under way is stored; Number: what a crash right after it would replay
	Started  Kind = 'S' // a handler begins; Text: empty or Behind
	Finished Kind = 'F' // a handler returns; Text: Settled, Failed or Cancelled
	Written  Kind = 'W' // the output of a message is durable; Number: how many messages the Write had
	Lettered Kind = 'D' // a dead letter was written
	Broken   Kind = '!' // the member itself saw something wrong; Text
)

// What the test writes.
const (
	Dying     Kind = 'k' // the process is about to be killed, by SIGKILL
	Killed    Kind = 'K' // it is gone
	Paused    Kind = 'P' // about to be stopped by SIGSTOP
	Continued Kind = 'V' // goes on, by SIGCONT
	Crashing  Kind = 'Z' // a node of the service is about to be killed
	Stopping  Kind = 'z' // a node is about to be stopped in order, or to give partitions away
	Gone      Kind = 'Y' // it has ended, or given them away: what is confirmed from now on is another's word
)

// byTest are those.
const byTest = "kKPVZzY"

// How a handler returned.
const (
	Settled   = "settled"   // nil
	Failed    = "failed"    // an error that asks for another attempt, or for the failure policy
	Cancelled = "cancelled" // an error because its ctx has ended
)

// Behind is the Text of Started for a message that is not the first of its call.
const Behind = "behind"

// Event is one line of a history.
type Event struct {
	Kind      Kind
	Member    string // the process
	At        int64  // wall clock, nanoseconds: for figures alone
	Stream    string
	Partition int32
	Epoch     int64
	Offset    int64
	Key       string
	Number    int64 // of the message within its key, as produced; of Stored and Written: see there
	Attempt   int
	Text      string
	Progress  Progress
}

// Progress is what a commit says, as in package commit.
type Progress struct {
	Frontier int64
	Ahead    []Range
}

// Range is a half-open range of offsets.
type Range struct{ From, To int64 }

// Recorder writes events of one process. It is safe for concurrent use.
type Recorder struct {
	file   *os.File
	member string
	lines  sync.Pool
}

// NewRecorder opens the history, or begins it.
func NewRecorder(path, member string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("livetest: %w", err)
	}
	return &Recorder{file: f, member: member, lines: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// Write appends the event with one system call. A history with holes would prove nothing, so what cannot be written ends
// the process.
func (r *Recorder) Write(e Event) {
	if e.Member == "" {
		e.Member = r.member
	}
	e.At = time.Now().UnixNano()
	line, _ := r.lines.Get().(*[]byte)
	*line = appendEvent((*line)[:0], &e)
	if _, err := r.file.Write(*line); err != nil {
		panic(fmt.Errorf("livetest: the history cannot be written: %w", err))
	}
	r.lines.Put(line)
}

// Close closes the file.
func (r *Recorder) Close() error { return r.file.Close() }

// A line begins with a line feed, too: when SIGKILL tears a line apart in the middle of its write, the next one is whole.
func appendEvent(b []byte, e *Event) []byte {
	b = append(b, '\n', byte(e.Kind), ' ')
	b = appendWord(b, e.Member)
	b = strconv.AppendInt(b, e.At, 10)
	b = append(b, ' ')
	b = appendWord(b, e.Stream)
	for _, n := range [...]int64{int64(e.Partition), e.Epoch, e.Offset} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	b = appendWord(b, e.Key)
	for _, n := range [...]int64{e.Number, int64(e.Attempt), e.Progress.Frontier} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	for i, r := range e.Progress.Ahead {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, r.From, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, r.To, 10)
	}
	b = append(b, ' ')
	b = strconv.AppendQuote(b, e.Text)
	return append(b, " .\n"...)
}

func appendWord(b []byte, w string) []byte {
	if w == "" {
		w = "-"
	}
	return append(append(b, w...), ' ')
}

// Parse reads a history. Torn lines, which a killed process can leave, are counted; anything else that is no event is
// an error. Only whole lines are read: rest is what stands behind the last line feed.
func Parse(b []byte) (events []Event, torn int, rest []byte, err error) {
	for {
		line, after, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			return events, torn, b, nil
		}
		b = after
		if len(line) == 0 {
			continue
		}
		if !bytes.HasSuffix(line, []byte(`" .`)) {
			torn++
			continue
		}
		e, err := parseEvent(string(line))
		if err != nil {
			return events, torn, b, fmt.Errorf("livetest: %q: %w", line, err)
		}
		events = append(events, e)
	}
}

func parseEvent(line string) (e Event, err error) {
	f := strings.SplitN(line, " ", 13)
	if len(f) != 13 || len(f[0]) != 1 {
		return e, fmt.Errorf("%d fields", len(f))
	}
	number := func(s string) int64 {
		n, bad := strconv.ParseInt(s, 10, 64)
		if bad != nil && err == nil {
			err = bad
		}
		return n
	}
	word := func(s string) string {
		if s == "-" {
			return ""
		}
		return s
	}
	e = Event{
		Kind: Kind(f[0][0]), Member: f[1], At: number(f[2]), Stream: word(f[3]), Partition: int32(number(f[4])),
		Epoch: number(f[5]), Offset: number(f[6]), Key: word(f[7]), Number: number(f[8]), Attempt: int(number(f[9])),
		Progress: Progress{Frontier: number(f[10])},
	}
	if f[11] != "" {
		for r := range strings.SplitSeq(f[11], ",") {
			from, to, _ := strings.Cut(r, "-")
			e.Progress.Ahead = append(e.Progress.Ahead, Range{number(from), number(to)})
		}
	}
	if err == nil {
		e.Text, err = strconv.Unquote(strings.TrimSuffix(f[12], " ."))
	}
	return e, err
}
