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
	busy   atomic.Bool // a Write is running; detects concurrent Writes of the caller
	closed bool
}

func (w *writer) Write(ctx context.Context, ms []keystrand.Message) error {
	if !w.busy.CompareAndSwap(false, true) {
		return errors.New("memory: concurrent Write on one writer: use one writer per goroutine")
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
		return errors.New("memory: close: the writer is already closed")
	}
	w.closed = true
	w.sink.closeWriter()
	return nil
}
