package pipeline

import (
	"cmp"
	"fmt"
	"reflect"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Failure is a message that has failed for good: after all middleware, its handler's error does not ask for a retry.
type Failure struct {
	Message   *keystrand.Message // valid until the policy returns
	Err       error
	Permanent bool // Err is marked by keystrand.Permanent
}

// Policy decides what happens to a failed message. It is called concurrently from many goroutines and must not block,
// because the message's turn waits for it. A policy may call others, for example to dead-letter permanent failures and
// block the key on all others. A policy that panics or calls runtime.Goexit acts as [Stop].
//
// The pipeline calls it when a handler or the key function has failed for good, after all middleware. It also calls it
// when a sink refuses an output for good (keystrand.Permanent). Block then acts as Stop, since later messages of the
// key may already be handled.
type Policy func(Failure) Action

// Action is the decision of a [Policy]. The zero Action is the one of [Stop].
type Action struct {
	kind        action
	letters     *letterBox
	first, most time.Duration // pauses of BlockFor; 0 for other actions
}

// pause returns how long a key waits after the given number of earlier blocks; 0 means until Resume.
func (a Action) pause(before uint8) time.Duration {
	if before >= 62 || a.first > a.most>>before {
		return a.most
	}
	return a.first << before
}

// letterBox holds the arguments of one call of DeadLetter.
type letterBox struct {
	sink     sink.Sink
	fallback Policy // nil if there is none
}

func (b *letterBox) decide(Failure) Action { return Action{kind: deadLetter, letters: b} }

// boxOf returns the box of a policy that DeadLetter returned. It finds none inside a policy of the user.
func boxOf(p Policy) *letterBox {
	if reflect.ValueOf(p).Pointer() != reflect.ValueOf((*letterBox)(nil).decide).Pointer() {
		return nil
	}
	return p(Failure{}).letters
}

// name returns a map key that all boxes of a sink share, since a policy may call DeadLetter for each failure and all
// must share a writer. If the sink is not comparable, each box has its own.
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
	hold
)

// Stop ends the pipeline: it drains, commits what is settled, and Run returns a [*FailureError]. No commit passes the
// failed message, so it is redelivered after a restart.
func Stop(Failure) Action { return Action{kind: stop} }

// Block parks the key until an operator calls [Pipeline.Resume]; then the message is handled again. Other keys
// continue. A hand-over or a restart ends the block, and the message is retried.
func Block(Failure) Action { return Action{kind: block} }

// Hold diverts the key to the store of [Builder.Divert], from the failed message on, and keeps it there until an operator
// calls [Pipeline.ResumeHeld], SkipHeld or DropHeld. Other keys continue, and so do commits: unlike Block, a held key pins
// nothing and survives restarts and hand-overs. Later messages of the key join it in the store, in order. A message without
// order is held alone.
//
// Hold acts as [Block], and the log says so, if the key cannot be diverted:
//
//   - the message has several lanes or is a barrier, or such a message waits behind it in its lane;
//   - Limits.DivertBytes is used up;
//   - the store can never keep the message;
//   - the key begins with the bytes that name messages without order in the store;
//   - the partition is being released: its next owner handles the message again.
//
// An output that a sink refuses for good stops the pipeline, as with Block.
func Hold(Failure) Action { return Action{kind: hold} }

// BlockFor returns a policy that parks the key for a pause and then handles the message again. The first pause is
// first; each further one is twice as long, up to most, without limit on their number. Other keys continue, and
// [Pipeline.Resume] ends a pause at once. Attempts count from 1 after each pause, so the middleware retries again. An
// output that the sink refuses for good is written again after pauses.
//
// BlockFor suits failures that end when another service recovers. A message that can never be handled blocks its key
// until an operator repairs it. The key function is called once for each message, so a [KeyError] fails again after each
// pause, until a restart.
//
// Zero values mean 1 s and 1 min. For a negative pause BlockFor returns nil, which Build refuses.
func BlockFor(first, most time.Duration) Policy {
	if first < 0 || most < 0 {
		return nil
	}
	first = cmp.Or(first, time.Second)
	most = max(cmp.Or(most, time.Minute), first)
	return func(Failure) Action { return Action{kind: block, first: first, most: most} }
}

// Skip settles the message without handling it. The pipeline counts and logs it.
func Skip(Failure) Action { return Action{kind: skip} }

// DeadLetter returns a policy that writes the failed message to s and then continues with its key.
//
// The dead letter has the key, value and headers of the message, and the headers HeaderStream to HeaderError with its origin
// and its errors. Its Stream is empty, so s chooses the destination. Its Time is the time of writing, because brokers delete
// messages by their time; HeaderTime has the time of the message. The letter of a tombstone has an empty value, and
// HeaderValue. The letter of a letter has the origin and the errors of the later failure, and HeaderOrigin. In a compacted
// topic a letter still replaces earlier letters of its key, so do not compact a topic for dead letters.
//
// The key waits until the dead letter is durable. A failed write is retried, so after a lost reply the dead letter may
// exist twice.
//
// If s refuses a dead letter for good (keystrand.Permanent), for example because it is too large, it is written with fewer
// headers: first the errors are cut to 100 bytes, then the headers of the message are left out, then the errors, at last all
// headers. If s refuses the letter without headers too, or the error is [sink.ErrDestination], the policy of [Fallback]
// decides. Without Fallback the policy of the pipeline is called once more; if it returns DeadLetter again, the pipeline
// stops.
//
// The pipeline opens one writer of s at the first dead letter; the caller closes s. DeadLetter(nil) returns nil, which
// Build refuses.
func DeadLetter(s sink.Sink, options ...DeadLetterOption) Policy {
	if s == nil {
		return nil
	}
	box := &letterBox{sink: s}
	for _, set := range options {
		set(box)
	}
	return box.decide
}

// DeadLetterOption changes a policy of [DeadLetter].
type DeadLetterOption func(*letterBox)

// Fallback sets the policy for a message whose dead letter is refused for good. Failure.Err names the refusal and has the
// error of the message. [Skip] settles the message, [BlockFor] writes the letter again after pauses, and DeadLetter of another
// sink writes it there. [Stop], [Block], [Hold] and DeadLetter of a sink that has refused
// the letter stop the pipeline.
func Fallback(p Policy) DeadLetterOption {
	return func(b *letterBox) { b.fallback = p }
}

// FailureError is the error of Run when a failed message has stopped the pipeline. No commit passes the message: it is
// redelivered after every restart, until its cause is repaired or a failure policy lets the pipeline continue without
// it.
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

// Error names the message and its error.
func (e *FailureError) Error() string {
	return fmt.Sprintf("pipeline: %s/%d@%d key %.64q failed on attempt %d; redelivered after a restart: %v", e.Stream, e.Partition, e.Offset, e.Key, e.Attempts, e.Err)
}

// Unwrap returns the handler's error.
func (e *FailureError) Unwrap() error { return e.Err }
