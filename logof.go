package keystrand

import "context"

// LogOf returns the identity of the log to which the offsets of a handler's messages belong, as commit.Progress.Log has it: on
// Kafka the id of the topic. A topic that is deleted and made again has another one, while its offsets are used again. So a
// stored offset needs the identity beside it. It is empty if the source cannot tell.
//
// ctx is the one that the handler got, or is derived from it. For any other, ok is false.
func LogOf(ctx context.Context) (log string, ok bool) {
	log, ok = ctx.Value(logKey{}).(string)
	return log, ok
}

// WithLog returns a ctx for which [LogOf] returns log. A pipeline makes one for each ownership of a partition; tests of handlers
// make one for calls without a pipeline.
func WithLog(ctx context.Context, log string) context.Context {
	return context.WithValue(ctx, logKey{}, log)
}

type logKey struct{}
