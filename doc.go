// Package keystrand defines the messages, handlers, keys and outcomes of a library that processes the messages of a log in
// order per key and concurrently across keys. A slow, hot or failing key delays only itself. No message is lost, and a
// restart resumes at the committed progress. These guarantees are the same for every source.
//
// A pipeline has a source ([github.com/keystrand/keystrand/source]), a handler, and middleware around the handler:
//
//	p, err := pipeline.From(src).
//		Use(middleware.Retry(middleware.RetryPolicy{})).
//		HandleFunc(saveComment).
//		Build()
//	if err != nil {
//		return err
//	}
//	return p.Run(ctx)
//
// There are three kinds of handlers. All are called in order per key:
//
//   - A [Handler] gets one message.
//   - A [BatchHandler] gets the waiting messages of one key.
//   - A [Transformer] emits messages for a sink.
//
// The error that a handler returns decides the outcome of its message. Nil settles the message. [RetryAfter] retries it,
// [Skip] settles it without effect, and [Permanent] is a failure that must not be retried. Any other error is a failure.
// [OutcomeOf] interprets these errors.
//
// A [Decoder] decodes messages into values of your own type, for the key function and for every kind of handler.
//
// Delivery is at least once. After a crash, messages that were not settled, or were settled after the last commit, are
// redelivered in order. Handlers must therefore be idempotent.
//
// Messages of different keys have no order. Messages of different partitions have none either, even with the same key.
package keystrand
