package keystrand

import (
	"context"
	"errors"
	"fmt"
)

// Decoder decodes the values of messages into values of type T, for the key function and for handlers of every shape:
//
//	comments := keystrand.NewDecoder[Comment](json.Unmarshal)
//	pipeline.From(src).
//		Key(comments.Key(func(c Comment) keystrand.Key { return keystrand.KeyOfString(c.Post) })).
//		Handle(comments.Handle(saveComment))
//
// Each message is decoded once: its key function, all tries of its handler and middleware get the same T. What it points
// to is shared between them, so treat it as read-only. A message that waits keeps its T in memory beside its bytes, and
// Limits.InFlightBytes counts only the bytes. If middleware or a handler replaces Message.Value, the new bytes are
// decoded.
//
// A value that cannot be decoded is a [Permanent] failure of its message: retrying would decode the same bytes. A
// tombstone (a nil Value) is the zero T, and unmarshal is not called for it.
//
// A Decoder is safe for concurrent use.
type Decoder[T any] struct {
	unmarshal func(data []byte, v any) error
}

// NewDecoder returns a Decoder that uses unmarshal, for instance [encoding/json.Unmarshal]. unmarshal gets the value of a
// message and a *T. It is called from many goroutines, must not block, and must not change data.
func NewDecoder[T any](unmarshal func(data []byte, v any) error) *Decoder[T] {
	return &Decoder[T]{unmarshal}
}

// Decode returns the decoded value of m. Its error names the message and is [Permanent]. It is for middleware, and for
// key functions of pipelines that read several streams. Two goroutines must not call it at once for the same *Message.
func (d *Decoder[T]) Decode(m *Message) (T, error) {
	var zero T
	if m.Value == nil && m.Native == nil {
		return zero, nil
	}
	if x := m.decoded; x != nil && x.by == any(d) && same(x.from, m.Value) {
		if v, ok := x.value.(*T); ok {
			return *v, nil
		}
	}
	if !d.ready() {
		return zero, Permanent(errNoUnmarshal)
	}
	v := new(T)
	if err := d.unmarshal(m.Value, v); err != nil {
		return zero, Permanent(fmt.Errorf("keystrand: decode %s/%d@%d into %T: %w", m.Stream, m.Partition, m.Offset, zero, err))
	}
	m.decoded = &decoded{by: d, from: m.Value, value: v}
	return *v, nil
}

// Key returns a [KeyFunc] that calls f with the decoded value. It fails for a message that cannot be decoded. f gets the
// zero T for a tombstone: where a log has them, use a key function of your own, which looks at Message.Key first.
//
// It returns nil, which a pipeline refuses, if f is nil or the Decoder has no unmarshal function.
func (d *Decoder[T]) Key(f func(v T) Key) KeyFunc {
	if f == nil || !d.ready() {
		return nil
	}
	return func(m *Message) (Key, error) {
		v, err := d.Decode(m)
		if err != nil {
			return Key{}, err
		}
		return f(v), nil
	}
}

// Handle returns a [Handler] that calls f with the message and its decoded value.
func (d *Decoder[T]) Handle(f func(ctx context.Context, m *Message, v T) error) Handler {
	return decodedHandler[T]{d, f}
}

// HandleBatch returns a [BatchHandler] that calls f with the messages and their decoded values: vs[i] is that of ms[i].
// Of a batch with a message that cannot be decoded, f gets those before it, and the message fails alone.
func (d *Decoder[T]) HandleBatch(f func(ctx context.Context, ms []*Message, vs []T) error) BatchHandler {
	return decodedBatchHandler[T]{d, f}
}

// Transform returns a [Transformer] that calls f with the message and its decoded value.
func (d *Decoder[T]) Transform(f func(ctx context.Context, m *Message, v T, emit func(Message)) error) Transformer {
	return decodedTransformer[T]{d, f}
}

func (d *Decoder[T]) ready() bool { return d != nil && d.unmarshal != nil }

// check returns what is wrong with a handler that the Decoder has made.
func (d *Decoder[T]) check(noFunc bool) (errs []error) {
	if !d.ready() {
		errs = append(errs, errors.New("the handler has a Decoder without an unmarshal function: give NewDecoder one"))
	}
	if noFunc {
		errs = append(errs, errors.New("the handler has a Decoder and a nil function"))
	}
	return errs
}

var errNoUnmarshal = errors.New("keystrand: decode: the Decoder has no unmarshal function: give NewDecoder one")
