package memory

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

type writer struct {
	sink   *Sink
	busy   atomic.Bool // a Write is running: finds the user's race, not ours
	closed bool
}

func (w *writer) Write(ctx context.Context, ms []keystrand.Message) error {
	if !w.busy.CompareAndSwap(false, true) {
		return errors.New("memory: two Writes at once on one writer")
	}
	defer w.busy.Store(false)
	if w.closed {
		return errors.New("memory: Write on a closed writer")
	}
	res := sink.NewResult(ms)
	fault := w.sink.currentFault()
	for i := range ms {
		if ctx.Err() != nil {
			res.Fail(i, context.Cause(ctx))
			continue
		}
		if res.Behind(i) {
			continue
		}
		if fault != nil {
			if err := fault(ctx, &ms[i]); err != nil {
				if errors.Is(err, ErrReplyLost) {
					w.sink.store(&ms[i])
				}
				res.Fail(i, err)
				continue
			}
		}
		w.sink.store(&ms[i])
	}
	return res.Err()
}

func (w *writer) Close() error {
	if w.closed {
		return errors.New("memory: writer closed twice")
	}
	w.closed = true
	w.sink.closeWriter()
	return nil
}
