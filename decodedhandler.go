package keystrand

import (
	"context"
	"errors"
)

// decodedHandler is the handler that [Decoder.Handle] returns.
type decodedHandler[T any] struct {
	d *Decoder[T]
	f func(context.Context, *Message, T) error
}

func (h decodedHandler[T]) Handle(ctx context.Context, m *Message) error {
	v, err := h.d.Decode(m)
	if err != nil {
		return err
	}
	return h.f(ctx, m, v)
}

func (h decodedHandler[T]) check() []error { return h.d.check(h.f == nil) }

// decodedTransformer is the transformer that [Decoder.Transform] returns.
type decodedTransformer[T any] struct {
	d *Decoder[T]
	f func(context.Context, *Message, T, func(Message)) error
}

func (t decodedTransformer[T]) Transform(ctx context.Context, m *Message, emit func(Message)) error {
	v, err := t.d.Decode(m)
	if err != nil {
		return err
	}
	return t.f(ctx, m, v, emit)
}

func (t decodedTransformer[T]) check() []error { return t.d.check(t.f == nil) }

// decodedBatchHandler is the batch handler that [Decoder.HandleBatch] returns.
type decodedBatchHandler[T any] struct {
	d *Decoder[T]
	f func(context.Context, []*Message, []T) error
}

func (h decodedBatchHandler[T]) HandleBatch(ctx context.Context, ms []*Message) error {
	vs := make([]T, 0, len(ms))
	for i, m := range ms {
		v, err := h.d.Decode(m)
		if err != nil {
			return h.stopBefore(ctx, ms[:i:i], vs, err)
		}
		vs = append(vs, v)
	}
	return h.f(ctx, ms, vs)
}

// stopBefore handles ms, the messages before one that cannot be decoded. If they are settled, it returns a BatchError that
// names the undecodable message.
func (h decodedBatchHandler[T]) stopBefore(ctx context.Context, ms []*Message, vs []T, undecodable error) error {
	if len(ms) > 0 {
		if err := h.f(ctx, ms, vs); err != nil {
			return ofFirst(len(ms), err)
		}
	}
	return &BatchError{Settled: len(ms), Err: undecodable}
}

// ofFirst converts err, which a handler returned for the first n messages of a batch, to an error for the whole batch. The
// result must not settle, skip or blame a message that the handler did not get.
func ofFirst(n int, err error) error {
	if e, ok := errors.AsType[*BatchError](err); ok {
		if e.Settled >= 0 && e.Settled < n {
			return err
		}
		return errors.New(e.Error()) // a failure that names no message
	}
	if outcome, _ := OutcomeOf(err); outcome == OutcomeSkipped {
		return &BatchError{Err: err} // skips the first message; the next call starts with the second
	}
	return err
}

func (h decodedBatchHandler[T]) check() []error { return h.d.check(h.f == nil) }
