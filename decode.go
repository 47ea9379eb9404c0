package keystrand

import (
	"context"
	"fmt"
)

// Decode returns a handler that turns each message's value into a T and calls h with it. unmarshal is for instance
// [encoding/json.Unmarshal]; it may be called from many goroutines. A value that cannot be read is a [Permanent]
// failure: another try would read the same bytes.
func Decode[T any](unmarshal func([]byte, any) error, h func(context.Context, *Message, T) error) Handler {
	return HandlerFunc(func(ctx context.Context, m *Message) error {
		var v T
		if err := unmarshal(m.Value, &v); err != nil {
			return Permanent(fmt.Errorf("keystrand: decode %s/%d@%d into %T: %w", m.Stream, m.Partition, m.Offset, v, err))
		}
		return h(ctx, m, v)
	})
}
