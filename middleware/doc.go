// Package middleware provides common middleware: [Timeout] bounds one attempt, [Retry] delays attempts without occupying a
// worker, and [Log] logs failures. Each works for every kind of handler, keeps no state between turns and is safe for
// concurrent use.
//
// The first middleware of a pipeline is the outermost. The usual order is Log, Retry, Timeout: each attempt gets its own
// timeout, and Log gets the error that the pipeline gets.
//
// Packages of their own have middleware that needs a library or keeps state: ratelimit, breaker and inbox. With them the usual
// order is Log, Retry, breaker, ratelimit, Timeout.
//
// A middleware with an invalid configuration panics when the pipeline is built, before any message. The panic value is an
// error that lists all mistakes.
//
// The package cannot stop a handler that ignores its ctx.
package middleware
