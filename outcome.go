package keystrand

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is the meaning of a handler's error for its message.
type Outcome uint8

// The outcomes returned by [OutcomeOf].
const (
	OutcomeHandled   Outcome = iota // nil: settled
	OutcomeSkipped                  // [Skip]: settled without effect; counted, but not as a failure
	OutcomeRetry                    // [RetryAfter]: the lane is parked, then the handler gets the message again
	OutcomePostponed                // [Later]: as OutcomeRetry, but the attempt does not count
	OutcomeFailed                   // any other error
	OutcomePermanent                // [Permanent]: failed; retrying cannot help
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case OutcomeHandled:
		return "handled"
	case OutcomeSkipped:
		return "skipped"
	case OutcomeRetry:
		return "retry"
	case OutcomePostponed:
		return "postponed"
	case OutcomeFailed:
		return "failed"
	case OutcomePermanent:
		return "permanent"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// OutcomeOf returns the outcome of an error that a handler or middleware returned. The duration is the delay of an
// [OutcomeRetry] or [OutcomePostponed], else 0. Middleware should call OutcomeOf instead of looking for error types.
//
// If err wraps or joins several kinds, the order of precedence is Permanent, RetryAfter, Later, Skip.
func OutcomeOf(err error) (Outcome, time.Duration) {
	if err == nil {
		return OutcomeHandled, 0
	}
	if _, ok := errors.AsType[*permanentError](err); ok {
		return OutcomePermanent, 0
	}
	if e, ok := errors.AsType[*retryError](err); ok {
		return OutcomeRetry, e.after
	}
	if e, ok := errors.AsType[*laterError](err); ok {
		return OutcomePostponed, e.after
	}
	if _, ok := errors.AsType[*skipError](err); ok {
		return OutcomeSkipped, 0
	}
	return OutcomeFailed, 0
}

// Permanent marks err as a failure that retrying cannot help. The message is not retried. Permanent(nil) returns nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// RetryAfter returns an error that retries the message after d and counts another attempt. The lane is parked meanwhile and
// occupies no worker. A negative d counts as zero. err may be nil.
func RetryAfter(d time.Duration, err error) error { return &retryError{max(d, 0), err} }

// Later returns an error that postpones the message: the handler gets it again after d. No attempt is counted, and it is
// not a failure, so it uses up no retries and never reaches the failure policy. The lane is parked meanwhile and occupies no
// worker. A negative d counts as zero. The reason tells people what the message waits for, such as a rate limit.
//
// Return Later before the handler has any effect: a message may be postponed any number of times.
func Later(d time.Duration, reason string) error { return &laterError{max(d, 0), reason} }

// Skip returns an error that settles the message without effect. The skip is counted and logged with the reason. It is not a
// failure.
func Skip(reason string) error { return &skipError{reason} }

// BatchError is returned by a [BatchHandler] that settled the first messages of a batch and failed at the next one.
type BatchError struct {
	Settled int   // number of messages settled, from the first
	Err     error // the error of the next message, interpreted by [OutcomeOf]
}

// Error returns the number of settled messages and the error of the next one.
func (e *BatchError) Error() string {
	return fmt.Sprintf("keystrand: batch stopped after %d messages: %v", e.Settled, e.Err)
}

// Unwrap returns e.Err.
func (e *BatchError) Unwrap() error { return e.Err }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type retryError struct {
	after time.Duration
	err   error
}

func (e *retryError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("retry after %v", e.after)
	}
	return fmt.Sprintf("retry after %v: %v", e.after, e.err)
}
func (e *retryError) Unwrap() error { return e.err }

type laterError struct {
	after  time.Duration
	reason string
}

func (e *laterError) Error() string { return fmt.Sprintf("postponed for %v: %s", e.after, e.reason) }

type skipError struct{ reason string }

func (e *skipError) Error() string { return "skipped: " + e.reason }
