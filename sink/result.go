package sink

import (
	"errors"

	"github.com/keystrand/keystrand"
)

// ErrBehind is the cause of a message that was not written because one before it, of the same key and stream, was not.
// It says nothing against the message itself: it must not be counted as a failure of it.
var ErrBehind = errors.New("sink: a message before it, of the same key, was not written")

// Result gathers what became of the messages of one Write, for the writer of a sink: it remembers the keys that have
// failed, so that nothing of them is written behind the failure. As long as nothing fails it costs nothing.
//
// It is used from one goroutine.
type Result struct {
	ms     []keystrand.Message
	errs   []error         // one a message once something failed
	failed map[keyName]int // the first message of each key that failed
}

type keyName struct{ stream, key string }

// NewResult returns a Result in which all is well.
func NewResult(ms []keystrand.Message) Result { return Result{ms: ms} }

// Fail says that message i is not durable, and why. All that come after it and have its key are [Result.Behind].
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

// Behind tells whether message i must not be written because an earlier one of its key failed, and if so notes it as
// failed with [ErrBehind]. A message without a key is behind nothing.
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

// Failed tells whether message i has been noted as failed.
func (r *Result) Failed(i int) bool { return r.errs != nil && r.errs[i] != nil }

// Err returns what Write returns: nil if nothing failed, else a [*PartialError].
func (r *Result) Err() error {
	if r.errs == nil {
		return nil
	}
	return &PartialError{Errs: r.errs}
}
