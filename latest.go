package keystrand

import "context"

// Latest returns a BatchHandler that handles only the newest message of each batch, with h. A batch has the waiting messages of
// a key, at most Limits.MaxBatch of the pipeline. When h succeeds, the older ones are settled as well, and h never sees them.
// When h fails, they are settled too: the error is a [BatchError] that names the newest message, and retries concern that
// message alone.
//
// It is right for handlers whose effect depends on the newest message only, such as those that store the latest state of an
// entity, refresh a cache or render a page. It is wrong for handlers that need every message, such as those that add amounts,
// count, or apply changes to one another. Each message must hold the whole state, and so must the newest: if the newest is
// skipped or dead-lettered, the state of the older ones is not applied.
//
// h is called as by a pipeline with [Handler]: from many goroutines, and from one at a time for a key.
func Latest(h Handler) BatchHandler { return latest{h} }

type latest struct{ h Handler }

func (l latest) HandleBatch(ctx context.Context, ms []*Message) error {
	older := len(ms) - 1
	if err := l.h.Handle(ctx, ms[older]); err != nil {
		return &BatchError{Settled: older, Err: err}
	}
	return nil
}

func (l latest) check() []error { return check(l.h) }
