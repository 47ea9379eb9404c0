package keystrand

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/keystrand/keystrand/internal/runner"
)

func init() {
	runner.Reset, runner.Release = (*Call).reset, (*Call).release
	runner.HandlerNext, runner.BatchNext, runner.TransformNext = handlerNext, batchNext, transformNext
	runner.Check, runner.CloneValue = checkHandler, (*Message).cloneValue
}

// Call is one turn: one call of the handler chain, with its messages. The worker reuses it for its next turn, so neither
// middleware nor handler may keep it. Tests of middleware make one with [NewCall].
type Call struct {
	// Messages are the messages of the turn: one, or for a [BatchHandler] one or more of one key, in order.
	//
	// They are copies: middleware may change a field, or replace a whole message. Neither the next attempt nor a dead letter
	// sees the change. When the handler fails, they are reset to their state before the turn. Their bytes are immutable.
	Messages []*Message

	origin []*Message // the originals of Messages
	copies []Message

	emitted []Message
	emit    func(Message) // made once per Call, so that a turn does not allocate
}

// NewCall returns a Call with copies of the messages. It is for tests of middleware: a pipeline makes its own.
func NewCall(ms ...*Message) *Call {
	c := &Call{}
	c.reset(ms)
	return c
}

// Next runs the rest of a chain of middleware and then the handler. It may be called from many goroutines, each with its
// own Call.
type Next func(ctx context.Context, c *Call) error

// Middleware wraps the rest of a chain. It is called once, when the pipeline is built. The Next it returns is called once
// for every turn, for every kind of handler.
//
// The Next may return without calling the wrapped one, call it with another ctx, or replace its error. [OutcomeOf]
// interprets the error that it returns.
type Middleware func(Next) Next

// Chain wraps next in the middleware. The first middleware is the outermost.
func Chain(next Next, ms ...Middleware) Next {
	for i := len(ms) - 1; i >= 0; i-- {
		next = ms[i](next)
	}
	return next
}

// Emitted returns the messages that a [Transformer] emitted in its last run within this turn. The slice is valid until the
// turn ends.
func (c *Call) Emitted() []Message { return c.emitted }

func (c *Call) reset(ms []*Message) {
	if len(ms) == 1 && len(c.copies) == 1 { // the common case: one message after another
		c.origin[0], c.copies[0] = ms[0], *ms[0]
		c.Messages = append(c.Messages[:0], &c.copies[0])
		if len(c.emitted) > 0 {
			c.dropEmitted()
		}
		return
	}
	if len(ms) > cap(c.copies) {
		c.copies = make([]Message, len(ms))
	}
	if n := len(ms); n < len(c.copies) {
		clear(c.copies[n:])
		clear(c.origin[n:])
	}
	c.copies, c.Messages = c.copies[:len(ms)], c.Messages[:0]
	c.origin = append(c.origin[:0], ms...)
	for i, m := range ms {
		c.copies[i] = *m
		c.Messages = append(c.Messages, &c.copies[i])
	}
	if len(c.emitted) > 0 {
		c.dropEmitted()
	}
}

// release drops the messages and what was emitted, so that a worker that sleeps keeps none in memory.
func (c *Call) release() {
	c.dropEmitted()
	clear(c.copies)
	clear(c.origin)
	c.copies, c.origin, c.Messages = c.copies[:0], c.origin[:0], c.Messages[:0]
}

// restore resets the messages after a failed handler. It keeps decoded values for the next attempt.
func (c *Call) restore() {
	for i, m := range c.origin {
		m.keepDecoded(c.copies[i].decoded)
		c.copies[i] = *m
	}
}

func (c *Call) dropEmitted() {
	clear(c.emitted) // frees the payloads
	c.emitted = c.emitted[:0]
}

func handlerNext(h Handler) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		if err = h.Handle(ctx, c.Messages[0]); err != nil {
			c.restore()
		}
		return err
	}
}

func batchNext(h BatchHandler) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		if err = h.HandleBatch(ctx, c.Messages); err != nil {
			c.restore()
		}
		return err
	}
}

func transformNext(t Transformer) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		c.dropEmitted()
		if c.emit == nil {
			c.emit = func(m Message) {
				m.decoded = nil // a queued output keeps only its bytes
				c.emitted = append(c.emitted, m)
			}
		}
		if err = t.Transform(ctx, c.Messages[0], c.emit); err != nil {
			c.restore()
		}
		return err
	}
}

// PanicError is the error of a handler that panicked.
type PanicError struct {
	Value any    // the value passed to panic
	Stack []byte // the stack of the goroutine that panicked
}

// Error returns the text of the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("keystrand: handler panicked: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught turns a panic into an error. A runtime.Goexit cannot be recovered; the worker detects it.
func caught(c *Call, err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
		c.restore()
	}
}
