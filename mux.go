package keystrand

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Mux is a [Handler] that calls the handler registered for the message's stream. The handler registered for "" gets the
// messages of all other streams. Without one, a message of another stream is a [Permanent] failure, so that it is not
// settled silently.
//
// Fill a Mux before the pipeline runs. A Mux that no longer changes is safe for concurrent use.
type Mux map[string]Handler

// Handle calls the handler of m.Stream.
func (x Mux) Handle(ctx context.Context, m *Message) error {
	h, err := ofStream(x, m)
	if err != nil {
		return err
	}
	return h.Handle(ctx, m)
}

func (x Mux) check() []error { return checkStreams(x) }

// BatchMux is a [Mux] of batch handlers. All messages of a batch have one stream.
type BatchMux map[string]BatchHandler

// HandleBatch calls the handler of the messages' stream.
func (x BatchMux) HandleBatch(ctx context.Context, ms []*Message) error {
	h, err := ofStream(x, ms[0])
	if err != nil {
		return err
	}
	return h.HandleBatch(ctx, ms)
}

func (x BatchMux) check() []error { return checkStreams(x) }

// TransformMux is a [Mux] of transformers.
type TransformMux map[string]Transformer

// Transform calls the transformer of m.Stream.
func (x TransformMux) Transform(ctx context.Context, m *Message, emit func(Message)) error {
	t, err := ofStream(x, m)
	if err != nil {
		return err
	}
	return t.Transform(ctx, m, emit)
}

func (x TransformMux) check() []error { return checkStreams(x) }

func ofStream[H any](x map[string]H, m *Message) (H, error) {
	h, ok := x[m.Stream]
	if !ok {
		h, ok = x[""]
	}
	if !ok {
		return h, Permanent(fmt.Errorf("keystrand: no handler for stream %q (partition %d, offset %d): add one to the Mux", m.Stream, m.Partition, m.Offset))
	}
	return h, nil
}

func checkStreams[H any](x map[string]H) (errs []error) {
	for _, stream := range slices.Sorted(maps.Keys(x)) {
		for _, err := range check(x[stream]) {
			errs = append(errs, fmt.Errorf("stream %q: %w", stream, err))
		}
	}
	return errs
}
