package keystrand

import (
	"context"
	"errors"
	"fmt"
)

// Decode returns a handler that turns each message's value into a T and calls h with it. unmarshal is for instance
// [encoding/json.Unmarshal]; it may be called from many goroutines. A value that cannot be read is a [Permanent]
// failure: another try would read the same bytes.
func Decode[T any](unmarshal func([]byte, any) error, h func(context.Context, *Message, T) error) Handler {
	return decoder[T]{unmarshal, h}
}

type decoder[T any] struct {
	unmarshal func([]byte, any) error
	handle    func(context.Context, *Message, T) error
}

// Handle implements [Handler].
func (d decoder[T]) Handle(ctx context.Context, m *Message) error {
	var v T
	if err := d.unmarshal(m.Value, &v); err != nil {
		return Permanent(fmt.Errorf("keystrand: decode %s/%d@%d into %T: %w", m.Stream, m.Partition, m.Offset, v, err))
	}
	return d.handle(ctx, m, v)
}

func (d decoder[T]) check() (errs []error) {
	if d.unmarshal == nil {
		errs = append(errs, errors.New("the handler is a Decode with a nil unmarshal function"))
	}
	if d.handle == nil {
		errs = append(errs, errors.New("the handler is a Decode with a nil handler function"))
	}
	return errs
}
