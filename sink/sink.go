package sink

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
)

// Sink stores messages durably.
type Sink interface {
	// Open returns a writer. An error ends the pipeline. Open does not block on the network: Write reports a store that cannot
	// be reached. A sink that can tell earlier is a [Checker].
	//
	// Before it starts, a pipeline opens several writers from one goroutine. Each lane always uses the same writer. For dead
	// letters, a pipeline opens one writer at the first dead letter, from any goroutine.
	Open() (Writer, error)

	// Close frees all resources. It is called once, after all writers are closed.
	Close() error
}

// Writer writes messages in order. Its methods are called from one goroutine at a time, so at most one Write is in flight.
type Writer interface {
	// Write stores the messages in the given order. It returns when all are durable, or when some could not be written:
	//
	//   - Nil: all messages are durable.
	//   - A [*PartialError] reports which messages are durable. Within one stream and key, no durable message follows one
	//     that is not. A message that was not written because of an earlier one has [ErrBehind].
	//   - Any other error: no message is known to be durable.
	//
	// A message with the zero Time has no time; the store may use the time of writing. A store that cannot hold another time as
	// it is returns a permanent error for its message.
	//
	// Messages without a key have no order. The caller writes the messages that are not durable again, in the same order. So a
	// message may be stored twice after a lost reply, but never before an earlier message of its key.
	//
	// An error marked with [keystrand.Permanent] means that a retry cannot help, for example because the message is too large.
	// The failure policy of the pipeline then applies to that message, and the messages behind it are written again.
	//
	// When ctx ends, Write returns soon. A message that it does not report as durable may be stored all the same. The caller
	// ignores Permanent in an error of such a Write. A Write that does not return delays the release of its partition.
	//
	// Write must not change the messages, nor keep them after it returns.
	Write(ctx context.Context, ms []keystrand.Message) error

	// Close closes the writer. It is called once, after the last Write has returned.
	Close() error
}

// PartialError reports that some messages of a Write are durable and some are not. Call [keystrand.OutcomeOf] for each of
// Errs, not for the PartialError: one message that is too large would make the outcome [keystrand.OutcomePermanent].
type PartialError struct {
	// Errs has one entry per message: nil if the message is durable, else the cause. A message without an entry is not
	// durable.
	Errs []error
}

// Error returns the number of messages that are not durable, and the first cause.
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

// Checker is implemented by a Sink that can tell before the first Write whether it can be written. A pipeline checks the sink
// as it opens it, also a sink that is passed to its DeadLetter policy, and is not ready before the check has succeeded.
type Checker interface {
	// Check returns nil if the sink can be written. An error marked with [keystrand.Permanent] ends the pipeline: the topic is
	// missing, or a permission. After another error the pipeline checks again.
	//
	// Check stores nothing, and returns soon after ctx ends. It may run concurrently with all other methods except Close.
	Check(ctx context.Context) error
}

// Reporter is implemented by a Sink that can tell while a Write runs why it takes long.
type Reporter interface {
	// Trouble returns why messages wait now, or nil. It does not block. It is called from any goroutine.
	Trouble() error
}
