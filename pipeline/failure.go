package pipeline

import (
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Failure is a message that failed for good: its handler returned an error that is no retry, after all middleware.
type Failure struct {
	Message   *keystrand.Message // valid until the policy returns
	Err       error
	Permanent bool // the error was marked by keystrand.Permanent
}

// Policy decides what becomes of a failed message. It is called from many goroutines at once and must not block: the turn
// of its message waits for it. One policy may call others, so that for instance permanent failures are dead-lettered and
// all others block their key. One that panics, or ends its goroutine, is [Stop].
//
// It is asked when a handler, or the key function, has failed for good after all middleware; and when a sink refuses an
// output for good (keystrand.Permanent), where Block is Stop, since later messages of the key were handled already.
type Policy func(Failure) Action

// Action is what a [Policy] decides. The zero Action is that of [Stop].
type Action struct {
	kind        action
	letters     *letterBox
	first, most time.Duration // pauses of BlockFor; else 0
}

// pause returns how long a key waits that has failed so often before; 0: until it is resumed.
func (a Action) pause(before uint8) time.Duration {
	if before >= 62 || a.first > a.most>>before {
		return a.most
	}
	return a.first << before
}

// letterBox is the sink of one DeadLetter.
type letterBox struct{ sink sink.Sink }

// name returns what is the same for all boxes of a sink: a policy may call DeadLetter anew for each failure, and all of
// these must share a writer. A sink that cannot be compared has only its box.
func (b *letterBox) name() any {
	if reflect.ValueOf(b.sink).Comparable() {
		return b.sink
	}
	return b
}

type action uint8

const (
	stop action = iota
	block
	skip
	deadLetter
)

// Stop ends the pipeline: it drains, commits what is settled, and Run returns a [*FailureError]. The failed message is
// not passed by any commit, so the next start meets it again.
func Stop(Failure) Action { return Action{kind: stop} }

// Block parks the key until an operator calls [Pipeline.Resume]; then the message is handled again. Other keys go on.
// It is forgotten when the partition is handed over or the process restarts: the message is then tried again.
func Block(Failure) Action { return Action{kind: block} }

// BlockFor returns a policy that parks the key and handles the message again after a pause: first, then twice as long each
// time it fails, at most most, for as long as it takes. [Pipeline.Resume] ends a pause at once. Other keys go on. Attempts
// are counted anew after each pause, so retries of the middleware begin again. It suits failures that end when another
// service is back; a message that can never be handled holds its key until somebody mends it.
//
// Zeros stand for 1 s and 1 min. BlockFor with a negative pause is nil, which Build refuses. An output that the sink
// refuses for good is written again after pauses.
func BlockFor(first, most time.Duration) Policy {
	if first < 0 || most < 0 {
		return nil
	}
	first = or(first, time.Second)
	most = max(or(most, time.Minute), first)
	return func(Failure) Action { return Action{kind: block, first: first, most: most} }
}

// Skip settles the message without effect. It is counted and logged.
func Skip(Failure) Action { return Action{kind: skip} }

// DeadLetter returns a policy that writes the failed message to s and then goes on with its key. The dead letter has
// the key, value and headers of the message, and headers that tell where it comes from and why it is there; its Stream
// is empty, so s decides where it goes. The key waits until the dead letter is durable; a write that fails is tried
// again, so after a lost reply a dead letter may be there twice. One that the sink refuses for good (keystrand.Permanent),
// as too large for instance, is asked about once more, and if DeadLetter is the answer again the pipeline stops: it has
// nowhere else to go. The text of the error is cut to about 1 KiB.
//
// The pipeline opens one writer of s at the first dead letter; s is closed by whoever made it. DeadLetter(nil) is nil, which
// Build refuses.
func DeadLetter(s sink.Sink) Policy {
	if s == nil {
		return nil
	}
	box := &letterBox{s}
	return func(Failure) Action { return Action{kind: deadLetter, letters: box} }
}

// The headers that DeadLetter adds.
const (
	HeaderStream    = "keystrand-stream"
	HeaderPartition = "keystrand-partition"
	HeaderOffset    = "keystrand-offset"
	HeaderAttempts  = "keystrand-attempts"
	HeaderError     = "keystrand-error" // cut to about 1 KiB
)

func letter(m *keystrand.Message, cause error) keystrand.Message {
	l := *m.Clone()
	l.Stream = ""
	l.Headers = append(l.Headers,
		keystrand.Header{Key: HeaderStream, Value: []byte(m.Stream)},
		keystrand.Header{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(m.Partition), 10)},
		keystrand.Header{Key: HeaderOffset, Value: strconv.AppendInt(nil, m.Offset, 10)},
		keystrand.Header{Key: HeaderAttempts, Value: strconv.AppendInt(nil, int64(m.Attempt), 10)},
		keystrand.Header{Key: HeaderError, Value: []byte(textOf(cause))},
	)
	return l
}

// maxErrorText is what a dead letter tells of its error, in bytes: with much more of it a message that the sink would
// take might be too large.
const maxErrorText = 1024

// textOf returns what err says, cut to maxErrorText at the end of a character.
func textOf(err error) string {
	text := fmt.Sprint(err) // not err.Error(), which may panic
	if len(text) <= maxErrorText {
		return text
	}
	n := maxErrorText
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}

// FailureError is what Run returns when a failed message stopped the pipeline. No commit passes the message: the next
// start meets it again, until its cause is mended or a failure policy lets the pipeline go on without it.
type FailureError struct {
	Stream    string
	Partition int32
	Offset    int64
	Key       []byte
	Attempts  int
	Err       error
}

func newFailureError(m *keystrand.Message, err error) *FailureError {
	return &FailureError{m.Stream, m.Partition, m.Offset, m.Key, int(m.Attempt), err}
}

// Error names the message and what happened to it.
func (e *FailureError) Error() string {
	return fmt.Sprintf("pipeline: %s/%d@%d key %.64q failed in attempt %d, and is met again at the next start: %v", e.Stream, e.Partition, e.Offset, e.Key, e.Attempts, e.Err)
}

// Unwrap returns the handler's error.
func (e *FailureError) Unwrap() error { return e.Err }
