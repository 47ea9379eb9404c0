package keystrand

import (
	"context"
	"errors"
	"fmt"
)

// Decoder decodes the values of messages into values of type T, for the key function and for every kind of handler:
//
//	comments := keystrand.NewDecoder[Comment](json.Unmarshal)
//	pipeline.From(src).
//		Key(comments.Key(func(c Comment) keystrand.Key { return keystrand.KeyOfString(c.Post) })).
//		Handle(comments.Handle(saveComment))
//
// Each message is decoded once. Its key function, its middleware and all attempts of its handler get the same T. They share
// the memory that the T points to, so treat it as read-only. If middleware or a handler replaces Message.Value, the new
// bytes are decoded.
//
// A waiting message keeps its T in memory in addition to its bytes. Limits.InFlightBytes counts only the bytes.
//
// A value that cannot be decoded is a [Permanent] failure of its message, because a retry would decode the same bytes. For a
// tombstone (a nil Value) the Decoder returns the zero T without calling unmarshal.
//
// A Decoder is safe for concurrent use.
type Decoder[T any] struct {
	unmarshal func(data []byte, v any) error
}

// NewDecoder returns a Decoder that calls unmarshal, for example [encoding/json.Unmarshal], with the value of a message and a
// *T. unmarshal is called from many goroutines. It must not block and must not change data.
func NewDecoder[T any](unmarshal func(data []byte, v any) error) *Decoder[T] {
	return &Decoder[T]{unmarshal}
}

// Decode returns the decoded value of m. Its error names the message and is [Permanent]. Use it in middleware, and in key
// functions of pipelines that read several streams. Two goroutines must not call it at the same time for the same *Message.
func (d *Decoder[T]) Decode(m *Message) (T, error) {
	var zero T
	if m.isTombstone() {
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

// Key returns a [KeyFunc] that calls f with the decoded value. The KeyFunc fails for a message that cannot be decoded.
//
// For a tombstone, f gets the zero T. If the log has tombstones, write a key function that looks at Message.Key first.
//
// Key returns nil if f is nil or the Decoder has no unmarshal function. A pipeline rejects a nil KeyFunc.
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

// HandleBatch returns a [BatchHandler] that calls f with the messages and their decoded values: vs[i] is the value of ms[i].
// If a message of a batch cannot be decoded, f gets the messages before it, and only that message fails.
func (d *Decoder[T]) HandleBatch(f func(ctx context.Context, ms []*Message, vs []T) error) BatchHandler {
	return decodedBatchHandler[T]{d, f}
}

// Transform returns a [Transformer] that calls f with the message and its decoded value.
func (d *Decoder[T]) Transform(f func(ctx context.Context, m *Message, v T, emit func(Message)) error) Transformer {
	return decodedTransformer[T]{d, f}
}

func (d *Decoder[T]) ready() bool { return d != nil && d.unmarshal != nil }

// check returns the configuration errors of a handler made by the Decoder.
func (d *Decoder[T]) check(noFunc bool) (errs []error) {
	if !d.ready() {
		errs = append(errs, errors.New("the handler has a Decoder without an unmarshal function: pass one to NewDecoder"))
	}
	if noFunc {
		errs = append(errs, errors.New("the handler has a Decoder and a nil function"))
	}
	return errs
}

var errNoUnmarshal = errors.New("keystrand: decode: the Decoder has no unmarshal function: pass one to NewDecoder")
