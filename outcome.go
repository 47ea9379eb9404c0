package keystrand

import (
	"errors"
	"fmt"
	"time"
)

// Outcome says what a handler's error means for its message.
type Outcome uint8

// The outcomes, as [OutcomeOf] reads them from an error.
const (
	OutcomeHandled   Outcome = iota // nil: settled
	OutcomeSkipped                  // [Skip]: settled without effect; counted, and no failure
	OutcomeRetry                    // [RetryAfter]: the lane waits, then the handler gets the message again
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
	case OutcomeFailed:
		return "failed"
	case OutcomePermanent:
		return "permanent"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// OutcomeOf reads what a handler, or middleware around it, returned. The duration is the delay of an
// [OutcomeRetry], else 0. Middleware asks OutcomeOf and looks for no error types itself.
//
// If err joins or wraps several of them, Permanent wins over RetryAfter, and RetryAfter over Skip.
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
	if _, ok := errors.AsType[*skipError](err); ok {
		return OutcomeSkipped, 0
	}
	return OutcomeFailed, 0
}

// Permanent marks err as one that another try would meet again: it is not retried. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// RetryAfter asks for the same message again after d, counted as another attempt. Its lane is parked meanwhile and
// holds no worker. A d below zero counts as zero; err may be nil.
func RetryAfter(d time.Duration, err error) error { return &retryError{max(d, 0), err} }

// Skip settles the message without effect. It is counted and logged with the reason, and is no failure.
func Skip(reason string) error { return &skipError{reason} }

// BatchError is what a [BatchHandler] returns when it knows how far it came.
type BatchError struct {
	Settled int   // so many messages of the batch, from the first, are settled
	Err     error // what happened to the next one; read by [OutcomeOf]
}

// Error tells how far the batch came and what stopped it.
func (e *BatchError) Error() string {
	return fmt.Sprintf("keystrand: batch stopped after %d messages: %v", e.Settled, e.Err)
}

// Unwrap returns what stopped the batch.
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

type skipError struct{ reason string }

func (e *skipError) Error() string { return "skipped: " + e.reason }
