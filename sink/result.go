package sink

import (
	"errors"

	"github.com/keystrand/keystrand"
)

// ErrBehind is the error of a message that was not written because an earlier message of the same stream and key was not. It
// does not count as a failure of the message.
var ErrBehind = errors.New("sink: not written: an earlier message of the same key was not written")

// ErrDestination marks an error that concerns the destination, not the message: its topic is missing or terminated, its name
// is illegal, or a permission is missing. A smaller message, or another, would be refused as well. Join it to the cause.
var ErrDestination = errors.New("sink: the destination cannot be written")

// Result collects the results of one Write, message by message. It remembers the keys that failed, so that a writer does not
// write a later message of such a key. It allocates nothing until a message fails.
//
// A Result is not safe for concurrent use.
type Result struct {
	ms     []keystrand.Message
	errs   []error         // one per message; nil until a message fails
	failed map[keyName]int // index of the first failed message of each key
}

type keyName struct{ stream, key string }

// NewResult returns a Result without failures.
func NewResult(ms []keystrand.Message) Result { return Result{ms: ms} }

// Fail records that message i is not durable because of err. Later messages of its stream and key are [Result.Behind] it.
func (r *Result) Fail(i int, err error) {
	if r.errs == nil {
		r.errs = make([]error, len(r.ms))
		r.failed = make(map[keyName]int)
	}
	r.errs[i] = err
	if m := &r.ms[i]; m.Key != nil {
		k := keyName{m.Stream, string(m.Key)}
		if first, ok := r.failed[k]; !ok || i < first {
			r.failed[k] = i
		}
	}
}

// Behind reports whether message i must not be written because an earlier message of its stream and key failed. If so, it
// records [ErrBehind] for message i. Behind returns false for a message without a key.
func (r *Result) Behind(i int) bool {
	m := &r.ms[i]
	if r.failed == nil || m.Key == nil {
		return false
	}
	if first, ok := r.failed[keyName{m.Stream, string(m.Key)}]; !ok || first >= i {
		return false
	}
	if r.errs[i] == nil {
		r.errs[i] = ErrBehind
	}
	return true
}

// Failed reports whether an error is recorded for message i.
func (r *Result) Failed(i int) bool { return r.errs != nil && r.errs[i] != nil }

// Err returns the error for Write to return: nil if no message failed, else a [*PartialError].
func (r *Result) Err() error {
	if r.errs == nil {
		return nil
	}
	return &PartialError{Errs: r.errs}
}
