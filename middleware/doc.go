// Package middleware has the middleware that most pipelines want: [Timeout] bounds a try, [Retry] spaces out tries
// without holding a worker, [Log] tells of failures. Each works for every shape of handler, keeps nothing between turns
// and is safe for concurrent use.
//
// The first middleware given to a pipeline is the outermost. Log, then Retry, then Timeout is the usual order: every try
// gets its own time, and the log sees what the pipeline sees.
//
// A misconfigured middleware panics, with an error that lists everything wrong, when it is applied to a chain: that is
// while the pipeline is built, before any message.
//
// It does not promise that a handler which ignores its ctx ends: nothing can end it from outside.
package middleware
