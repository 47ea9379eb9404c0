package sink

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
)

// Sink stores messages durably.
type Sink interface {
	// Open returns a writer, or an error, which ends the pipeline. A pipeline opens several, from one goroutine, before it
	// starts, and each lane always uses the same one; of a sink for dead letters it opens one, at the first of them, from
	// any goroutine. It does not block on the network: a store that cannot be reached is Write's to report.
	Open() (Writer, error)

	// Close frees everything. It is called once, after all writers were closed.
	Close() error
}

// Writer writes in order. It is used from one goroutine at a time: one Write in flight a writer.
type Writer interface {
	// Write makes the messages durable in the order given and returns when they are, or when some could not be.
	//
	// nil: all are durable. A [*PartialError] tells which are; for messages of one stream and key the durable ones come
	// before those that are not, whatever the cause: what stands behind a message that was not written says [ErrBehind].
	// Messages without a key have no order. Any other error: none is known to be durable. What is not durable is written
	// again, in the same order, so a message may be stored twice after a lost reply; it never overtakes one of its key.
	//
	// Errors wrapped in [keystrand.Permanent] cannot be healed by writing again (too large, no permission): the caller
	// decides what becomes of that message and writes those behind it again. When ctx ends, Write returns soon, and what
	// it does not report as durable may be stored all the same; no error of such a Write counts as Permanent. A Write that
	// does not return keeps its partition from being released. The messages are not kept after the return, nor changed.
	Write(ctx context.Context, ms []keystrand.Message) error

	// Close gives up the writer. It is called once, after the last Write has returned.
	Close() error
}

// PartialError says that some messages of a Write are durable and some are not. Ask [keystrand.OutcomeOf] about each of
// Errs, not about the whole: one message that is too large would make all look [keystrand.OutcomePermanent].
type PartialError struct {
	// Errs has one entry a message: nil if it is durable, else why not. A message without an entry is not durable.
	Errs []error
}

// Error counts the messages and names the first cause.
func (e *PartialError) Error() string {
	n, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			if n++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("sink: %d of %d messages not written: %v", n, len(e.Errs), first)
}

// Unwrap returns the causes.
func (e *PartialError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
