package keystrand

import "context"

// Handler handles one message at a time.
//
// Handle is called from many goroutines, but never at the same time for two messages of one key. It gets the messages of a
// key in the order of the log. It may block, and occupies one worker meanwhile. [OutcomeOf] interprets the error it returns.
//
// m is a copy that is valid until Handle returns. Handle may set its fields; the next attempt, a dead letter and errors do
// not see the change. The bytes that the fields point to are immutable. [Message.Clone] returns a copy that stays valid.
//
// ctx carries the values of the context passed to Run, but not its cancellation. It is canceled when the time to drain the
// partition is over; [context.Cause] returns the reason. An error returned after that is neither a success nor a failure:
// the message stays unsettled, and the next owner handles it again.
type Handler interface {
	Handle(ctx context.Context, m *Message) error
}

// HandlerFunc is an adapter to use a function as a [Handler].
type HandlerFunc func(ctx context.Context, m *Message) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, m *Message) error { return f(ctx, m) }

// BatchHandler handles waiting messages of one key together, in the order of the log. A batch holds the messages that are
// waiting, up to the limit of the pipeline. The pipeline never waits to fill a batch.
//
// The error that HandleBatch returns decides the outcome of the messages:
//
//   - Nil and [Skip] settle all messages.
//   - A [BatchError] settles the first messages of the batch and names the next one as the culprit. Only the attempt of the
//     culprit is counted. If its cause is a [RetryAfter] or [Later], the next call starts with the culprit.
//   - [RetryAfter] retries the whole batch after the delay, with exactly the same messages, even if more messages of the key
//     have arrived. It counts an attempt of each message, in [Message.Attempt]. [Later] does the same and counts none.
//   - After any other error, the messages of the batch run one at a time, without delay. Each starts again with attempt 1.
//     Only a message that fails alone counts as failed and reaches the failure policy.
//
// With retry middleware, a failure that names no message retries the whole batch. When the middleware gives up, the messages
// run one at a time.
//
// The rest of the contract is that of [Handler]. The slice is valid until HandleBatch returns.
type BatchHandler interface {
	HandleBatch(ctx context.Context, ms []*Message) error
}

// BatchHandlerFunc is an adapter to use a function as a [BatchHandler].
type BatchHandlerFunc func(ctx context.Context, ms []*Message) error

// HandleBatch calls f.
func (f BatchHandlerFunc) HandleBatch(ctx context.Context, ms []*Message) error { return f(ctx, ms) }

// Transformer turns a message into any number of messages for a sink.
//
// emit does not block. Call it only from the goroutine of Transform, and only before Transform returns. If Transform fails,
// the emitted messages are dropped.
//
// The outputs of one key become durable in the order of their inputs. An input is settled when all its outputs are durable.
// The rest of the contract is that of [Handler].
type Transformer interface {
	Transform(ctx context.Context, m *Message, emit func(Message)) error
}

// TransformerFunc is an adapter to use a function as a [Transformer].
type TransformerFunc func(ctx context.Context, m *Message, emit func(Message)) error

// Transform calls f.
func (f TransformerFunc) Transform(ctx context.Context, m *Message, emit func(Message)) error {
	return f(ctx, m, emit)
}
