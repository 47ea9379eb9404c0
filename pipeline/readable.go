package pipeline

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// readable returns err, or an error that describes the panic if its methods panic. That happens for a nil pointer in an
// error, which is not a nil error. All errors of handlers, key functions and sinks pass through readable before the
// pipeline examines them.
func readable(err error) (safe error) {
	defer func() {
		if v := recover(); v != nil {
			safe = fmt.Errorf("pipeline: an error of type %T panicked (%v): return nil, not a nil pointer in an error", err, v)
		}
	}()
	_, _ = keystrand.OutcomeOf(err)
	_, _ = errors.AsType[*keystrand.BatchError](err)
	_, _ = errors.AsType[*keystrand.PanicError](err)
	_, _ = errors.AsType[*sink.PartialError](err)
	_ = errors.Is(err, sink.ErrBehind)
	return err
}
