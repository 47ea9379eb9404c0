package keystrand

import (
	"context"
	"fmt"
)

// Mux hands each message to the handler of its stream. A message of a stream without one is a [Permanent] failure, so
// that nothing is settled unseen; name a handler for "" to catch the rest.
//
// A Mux is filled before the pipeline runs and not changed afterwards; then it is safe for concurrent use.
type Mux map[string]Handler

// Handle calls the handler of m.Stream, else that of "".
func (x Mux) Handle(ctx context.Context, m *Message) error {
	h, ok := x[m.Stream]
	if !ok {
		if h, ok = x[""]; !ok {
			return Permanent(fmt.Errorf("keystrand: no handler for stream %q (%d@%d)", m.Stream, m.Partition, m.Offset))
		}
	}
	return h.Handle(ctx, m)
}
