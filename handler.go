package keystrand

import "context"

// Handler handles one message at a time.
//
// Handle is called from many goroutines, but never for two messages of one key at once, and for a key in the order of
// its log. It may block: it holds one worker while it does. What it returns decides, see [OutcomeOf].
//
// m is a copy for this call, and valid until it returns: Handle may write to its fields, which changes nothing for the next
// try, a dead letter or an error. The bytes they point to are immutable. [Message.Clone] keeps a message for longer.
//
// ctx carries the values of the context given to Run, but not its cancel: it ends only when the time to drain the
// partition is over, and [context.Cause] then tells why. After it has ended an error counts neither as success nor as
// failure: the message stays unsettled and is handled again by the next owner.
type Handler interface {
	Handle(ctx context.Context, m *Message) error
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, m *Message) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, m *Message) error { return f(ctx, m) }

// BatchHandler handles waiting messages of one key together, in the order of the log. A batch is never waited for: it
// is what is there, up to the limit that the pipeline sets.
//
// What HandleBatch returns decides:
//
//   - nil settles all messages, and [Skip] does too.
//   - A [BatchError] settles the first messages of the batch and names the next one as the culprit. Only the culprit counts
//     an attempt. If its cause is a [RetryAfter], the next call starts with the culprit.
//   - [RetryAfter] retries the whole batch after the delay, with exactly the same messages, even if more of the key have
//     arrived. Each of them counts an attempt, in [Message.Attempt].
//   - Any other error runs the messages of the batch one at a time, at once. Each counts its attempts from 1 again, so only a
//     message that fails by itself counts as failed and reaches the failure policy.
//
// Middleware that retries turns a failure of a database, say, into a retry of the whole batch, and the batch is run one
// message at a time when it gives up. Everything else is as for [Handler]; the slice is valid until the call returns.
type BatchHandler interface {
	HandleBatch(ctx context.Context, ms []*Message) error
}

// BatchHandlerFunc is a function that is a [BatchHandler].
type BatchHandlerFunc func(ctx context.Context, ms []*Message) error

// HandleBatch calls f.
func (f BatchHandlerFunc) HandleBatch(ctx context.Context, ms []*Message) error { return f(ctx, ms) }

// Transformer turns a message into any number of messages for a sink.
//
// emit takes a message by value and does not block; it is called from the goroutine of Transform, before Transform
// returns. If Transform fails, what it emitted is dropped. The outputs of one key become durable in the order of their
// inputs, and the input is settled when all its outputs are durable. Everything else is as for [Handler].
type Transformer interface {
	Transform(ctx context.Context, m *Message, emit func(Message)) error
}

// TransformerFunc is a function that is a [Transformer].
type TransformerFunc func(ctx context.Context, m *Message, emit func(Message)) error

// Transform calls f.
func (f TransformerFunc) Transform(ctx context.Context, m *Message, emit func(Message)) error {
	return f(ctx, m, emit)
}
