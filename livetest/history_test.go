package livetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Place is a partition of a stream.
type Place struct {
	Stream    string
	Partition int32
}

// Message is a message that was produced and that a member must settle.
type Message struct {
	Place
	Offset int64
	Key    string `json:",omitzero"`
	Number int64  `json:",omitzero"` // 0, 1, 2, … within its key
}

// History is a run.
type History struct {
	Produced []Message
	Events   []Event // of all processes, in order

	// Committed is what the service keeps at the end; nil if unknown.
	Committed map[Place]commit.Progress

	// Late: partitions appear while others are read. The first owner of one begins at any place up to its first message.
	Late bool
	// Orderly: the test disturbs neither members nor service, so no partition is lost and no turns of a key overlap.
	Orderly bool
	// Unfinished: members are at work, and not all is settled.
	Unfinished bool
	// Withholds: the service tells a new owner nothing, but does not deliver what is acknowledged.
	Withholds bool
	// Forgets lets a service that withholds forget commits that it has confirmed when a node ends: those of this time before
	// the last one, and those until the node is gone.
	Forgets map[Kind]time.Duration // by Crashing or Stopping
	// Outputs: handlers emit one output a message; the message is settled when its output is durable.
	Outputs bool
	// Diverts: members have a store for diverted keys.
	Diverts bool
	// Letters: some messages fail for good.
	Letters bool
	// Workers is how many turns of a member run at once. So many may have finished without being settled at a kill, and
	// so many may start while a partition that leaves cancels its handlers.
	Workers int
	// Writers is how many Writes of a member run at once. Their messages may be durable without being settled at a kill.
	Writers int
	// Stuck is a key whose messages need not be settled.
	Stuck string
}

// Rule names a promise that a history can break.
type Rule = string

// The rules of check.
const (
	RuleLost     Rule = "nothing lost"           // every message is settled in the end
	RuleForeign  Rule = "nothing made up"        // every handled message was produced, with its key
	RuleOrder    Rule = "order per key"          // a message starts only when all earlier ones of its key are settled
	RuleSerial   Rule = "serial per key"         // two turns of a key do not overlap
	RuleOwner    Rule = "one owner"              // a partition is accepted only after its earlier owner released it
	RuleFence    Rule = "no start after leave"   // no turn starts after release, or after the end of ctx
	RuleProgress Rule = "progress is settled"    // a commit claims only settled messages
	RuleBack     Rule = "progress stays"         // no commit and no restart goes back
	RuleStale    Rule = "no stale commit"        // no commit of an earlier owner is stored
	RuleReplay   Rule = "replays in bound"       // a restart delivers only what was unsettled or not committed
	RuleEpoch    Rule = "epochs grow"            // from owner to owner
	RuleFinal    Rule = "stored is settled"      // at the end the service keeps exactly what was settled
	RuleLetter   Rule = "leaving is not failing" // no dead letter, unless History.Letters
	RuleConserve Rule = "conservation"           // every turn ends, unless its process was killed
	RuleMember   Rule = "members work"           // Run returns no error
	RuleHistory  Rule = "history makes sense"    // events come in a possible order
)

// Report is the result of check.
type Report struct {
	Broken  map[Rule][]string
	Figures Figures
}

// Figures describe a run.
type Figures struct {
	Messages  int
	Turns     int // handlers begun
	Behind    int // of them: of a message that was not the first of its call
	Retries   int // of them: another attempt of the same owner
	Again     int // of them: of a message that an earlier owner had settled
	Forgotten int // of them: of a message whose commit was stored
	Stale     int // of them: by an owner that was frozen or disconnected
	Overlaps  int // of them: while a turn of such an owner ran
	Cancelled int // of them: ended with their ctx
	Commits   int // stored
	HandOvers int // partitions that got another owner
	Losses    int // partitions that were lost
	Kept      int // messages that were durable in the store
	Inherited int // of them: not handled yet when the partition got another owner
	Removed   int // strands that left the store
}

// String lists what is wrong by rule, at most 10 of each.
func (r *Report) String() string {
	var b strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(r.Broken)) {
		texts := r.Broken[rule]
		fmt.Fprintf(&b, "%s (%d):\n%s\n", rule, len(texts), strings.Join(texts[:min(10, len(texts))], "\n"))
	}
	return b.String()
}

func (r *Report) wrongIf(broken bool, rule Rule, format string, args ...any) {
	if broken {
		r.wrong(rule, format, args...)
	}
}

func (r *Report) wrong(rule Rule, format string, args ...any) {
	r.Broken[rule] = append(r.Broken[rule], fmt.Sprintf(format, args...))
}

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

// Events that a member writes about the store of diverted keys.
const (
	Restored Kind = "restored" // the store gives a strand to the owner; Key; Progress: its mark, and the range of its offsets; Count: messages
	Opened   Kind = "opened"   // the store is open
	Storing  Kind = "storing"  // a call that changes the store begins; Count: its number
	Kept     Kind = "kept"     // a message is durable in the store; Count: the number of the call
	Marking  Kind = "marking"  // a mark begins; Key, Offset; Text: empty or Removed; Count: as Kept
	Marked   Kind = "marked"   // that mark is durable
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

// Texts of Finished, of Started, and of Marking.
const (
	Settled   = "settled"   // nil
	Failed    = "failed"    // an error: the message is retried, or the failure policy acts
	Cancelled = "cancelled" // an error after the end of ctx
	Behind    = "behind"    // the message is not the first of its call
	Removed   = "removed"   // the strand, too
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

// parse reads a line of a history.
func parse(line []byte) (e Event) {
	if json.Unmarshal(line, &e) != nil {
		return Event{Kind: Torn}
	}
	return e
}

func TestHistoryComesBackAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	a, err := newRecorder(path, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	want := []Event{
		{Kind: Begun, Member: "a"},
		{Kind: Started, Member: "a", Epoch: 7, Message: Message{Place{"t", 3}, 9, "k", 2}},
		{Kind: Trying, Member: "a", Progress: commit.Progress{Frontier: 5, Ahead: []commit.Range{{From: 6, To: 8}, {From: 9, To: 10}}}},
		{Kind: Torn},
		{Kind: Ended, Member: "a", Text: "a \"b\"\nc }"},
		{Kind: Killed, Member: "b"},
	}
	for _, e := range want {
		if e.Kind == Torn {
			_, _ = a.WriteString("\n{\"Kind\":\"started\",\"Member\":\"b")
		} else {
			a.write(e)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []Event
	for line := range bytes.FieldsFuncSeq(b, func(c rune) bool { return c == '\n' }) {
		e := parse(line)
		e.At = 0
		got = append(got, e)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("events\n%+v\nwant\n%+v", got, want)
	}
}
