// Package keystrand is the vocabulary of a framework that handles the messages of a log in order per key and
// concurrently across keys. A slow, hot or failing key delays only itself; order is kept, nothing is lost, and a
// restart goes on exactly where the work stood, on every source alike.
//
// A program composes a pipeline of three things: a source that it reads ([github.com/keystrand/keystrand/source]),
// a handler of its own, and the middleware around it:
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
// Handlers come in three shapes, all called in order per key: a [Handler] gets one message, a [BatchHandler] gets the
// messages of one key that are waiting, and a [Transformer] emits messages for a sink. What a handler returns decides
// what becomes of the message: nil settles it; [RetryAfter], [Permanent] and [Skip] say something special; any other
// error is a failure. [OutcomeOf] is the only interpreter of these errors.
//
// A [Decoder] turns the bytes of messages into values of your own type, for the key function and for handlers of every
// shape.
//
// Delivery is at least once: after a crash, messages that were not settled, or were settled after the last commit, are
// handled again, in order. A handler must therefore be idempotent. Messages of different keys have no order, and no
// order is kept across partitions, even for one key.
package keystrand
