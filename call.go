package keystrand

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Call is one turn: one call of the handler, with what it works on. It belongs to a worker, which uses it again for the
// next turn, so neither middleware nor handler may keep it.
type Call struct {
	// Messages are the messages of the turn: one, or for a [BatchHandler] one or more of one key, in order.
	//
	// They are copies, made where a message is about to be read anyway: who unzips a value, or fills in a whole new
	// message, changes neither what the next try sees nor what a dead letter says. After an error of the handler they are
	// as they were before the turn. Their bytes are immutable all the same.
	Messages []*Message

	origin []*Message // what Messages are copies of
	copies []Message

	emitted []Message
	emit    func(Message) // made once a Call, so that a turn allocates nothing
}

// Next runs the rest of a chain of middleware, and at its end the handler. Like a handler it may be called from many
// goroutines, each with its own Call.
type Next func(ctx context.Context, c *Call) error

// Middleware wraps the rest of a chain. It is called once, when the pipeline is built; the Next it returns is called
// for every turn, whatever shape the handler has.
//
// It may end the turn without calling next, call it with another ctx, or replace the error; it must return what it
// wants the pipeline to know as an error that [OutcomeOf] understands.
type Middleware func(Next) Next

// Chain wraps next in the middleware: the first of them is the outermost.
func Chain(next Next, ms ...Middleware) Next {
	for i := len(ms) - 1; i >= 0; i-- {
		next = ms[i](next)
	}
	return next
}

// Emitted returns what a [Transformer] emitted in its last run within this turn. Valid until the turn ends.
func (c *Call) Emitted() []Message { return c.emitted }

// Reset prepares c for a turn with copies of these messages and drops what an earlier turn left. Until the turn ends
// nobody may write to the originals. It allocates nothing once c has had a turn of as many messages.
func (c *Call) Reset(ms ...*Message) {
	if len(ms) > cap(c.copies) {
		c.copies = make([]Message, len(ms))
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

// Release lets go of the turn's messages, so that a worker that waits for its next turn keeps no payload in memory. What
// was emitted stays.
func (c *Call) Release() {
	clear(c.copies)
	clear(c.origin)
	c.copies, c.origin, c.Messages = c.copies[:0], c.origin[:0], c.Messages[:0]
}

// restore undoes what a handler that has failed did to its messages.
func (c *Call) restore(err error) {
	if err == nil {
		return
	}
	for i, m := range c.origin {
		c.copies[i] = *m
	}
}

func (c *Call) dropEmitted() {
	clear(c.emitted) // lets the payloads go
	c.emitted = c.emitted[:0]
}

// HandlerNext returns the end of a chain that calls h for the message of the turn. A panic of h is returned as a
// [*PanicError].
func HandlerNext(h Handler) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		err = h.Handle(ctx, c.Messages[0])
		c.restore(err)
		return err
	}
}

// BatchNext returns the end of a chain that calls h for the messages of the turn. A panic of h is returned as a
// [*PanicError].
func BatchNext(h BatchHandler) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		err = h.HandleBatch(ctx, c.Messages)
		c.restore(err)
		return err
	}
}

// TransformNext returns the end of a chain that calls t for the message of the turn and keeps what it emits in the
// Call. What an earlier try within the same turn emitted is dropped first. A panic of t is returned as a [*PanicError].
func TransformNext(t Transformer) Next {
	return func(ctx context.Context, c *Call) (err error) {
		defer caught(c, &err)
		c.dropEmitted()
		if c.emit == nil {
			c.emit = func(m Message) { c.emitted = append(c.emitted, m) }
		}
		err = t.Transform(ctx, c.Messages[0], c.emit)
		c.restore(err)
		return err
	}
}

// PanicError is the failure of a handler that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where
}

// Error names the value; the stack is in the field.
func (e *PanicError) Error() string { return fmt.Sprintf("keystrand: handler panicked: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught turns a panic into an error. A runtime.Goexit passes: nothing can stop it, the worker sees to it.
func caught(c *Call, err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
		c.restore(*err)
	}
}
