package pipeline

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// readable returns err, or, if its methods panic, an error that says so: those of a nil pointer in an error do, which is
// not nil. What handlers, key functions and sinks return passes here before anybody asks what it means.
func readable(err error) (safe error) {
	defer func() {
		if v := recover(); v != nil {
			safe = fmt.Errorf("pipeline: an error of type %T that cannot be read (%v): return nil itself, not a nil pointer", err, v)
		}
	}()
	_, _ = keystrand.OutcomeOf(err)
	_, _ = errors.AsType[*keystrand.BatchError](err)
	_, _ = errors.AsType[*keystrand.PanicError](err)
	_, _ = errors.AsType[*sink.PartialError](err)
	_ = errors.Is(err, sink.ErrBehind)
	return err
}
