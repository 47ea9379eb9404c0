package keystrand

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is what became of a turn.
type Outcome uint8

// The outcomes, as [OutcomeOf] reads them from an error.
const (
	Handled   Outcome = iota // nil: settled
	Skipped                  // Skip: settled without effect, counted, no failure
	Retry                    // RetryAfter: the lane waits, then the same message comes again
	Failed                   // any other error
	Forbidden                // Permanent: failed, and another try would fail as well
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Handled:
		return "handled"
	case Skipped:
		return "skipped"
	case Retry:
		return "retry"
	case Failed:
		return "failed"
	case Forbidden:
		return "permanent"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// OutcomeOf reads what a handler, or middleware around it, returned. The duration is the delay of a [Retry], else 0.
// It is the only interpreter: middleware asks it instead of looking for error types itself.
//
// If err joins or wraps several of them, Permanent wins over RetryAfter, and RetryAfter over Skip.
func OutcomeOf(err error) (Outcome, time.Duration) {
	if err == nil {
		return Handled, 0
	}
	if _, ok := errors.AsType[*permanentError](err); ok {
		return Forbidden, 0
	}
	if e, ok := errors.AsType[*retryError](err); ok {
		return Retry, e.after
	}
	if _, ok := errors.AsType[*skipError](err); ok {
		return Skipped, 0
	}
	return Failed, 0
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
