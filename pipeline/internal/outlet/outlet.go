package outlet

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/keystrand/keystrand/sink"
)

// Hooks are told how outputs end. They are called from the writers' goroutines, and from those of Cut and Add, with no lock
// held; they may call Add.
type Hooks[X any] struct {
	// Durable is told all outputs that one Write made durable, those of a lane in order. The slice is valid during the call.
	Durable func(outputs []*Output[X])
	// Waits is told an output that a Write did not store, before the first of its pauses: it may wait long.
	Waits func(o *Output[X])
	// Refused is asked what becomes of an output that the sink refuses for good.
	Refused func(o *Output[X], cause error) Refusal
	// Dropped is told outputs that were cut before they were durable.
	Dropped func(outputs []*Output[X])
	// Broken is told that Write breaks its contract, so that the outlet cannot go on for long.
	Broken func(err error)
	// Safe returns an error whose methods may be called in place of one that a sink returned.
	Safe func(err error) error
	// Log is told when Writes begin to fail.
	Log *slog.Logger
}

// Refusal is what becomes of an output that the sink refuses for good.
type Refusal uint8

const (
	// WriteAgain writes the output again after a pause.
	WriteAgain Refusal = iota
	// Ended ends the output.
	Ended
	// Hold keeps the output first in its lane, unwritten, until [Outlet.End] or a cut: for an output whose message goes
	// elsewhere. The outputs behind it wait. A cut ends it without a call of Dropped.
	Hold
)

// Outlet is a sink with its writers. All methods are safe for concurrent use; none blocks but Close.
type Outlet[X any] struct {
	hooks   Hooks[X]
	writers []*writer[X]
}

// Open opens so many writers of the sink and starts a goroutine for each, which ends with Close.
func Open[X any](s sink.Sink, writers int, hooks Hooks[X]) (*Outlet[X], error) {
	x := &Outlet[X]{hooks: hooks}
	for range writers {
		w, err := s.Open()
		if err == nil && w == nil {
			err = fmt.Errorf("%T.Open returned no writer and no error", s)
		}
		if err != nil {
			return nil, errors.Join(err, x.Close())
		}
		x.writers = append(x.writers, startWriter(x, w))
	}
	return x, nil
}

// Add puts an output behind those of its lanes. False: the owner is cut, and no hook is told of the output.
func (x *Outlet[X]) Add(o *Output[X]) bool {
	o.to = x
	w := o.Owner
	if w.cut.Load() {
		return false
	}
	switch {
	case o.All:
		w.pending.Add(1)
		w.last.Store(o)
		w.releaseLast()
		return true
	case len(o.More) > 0:
		w.pending.Add(1)
		if x.follows(o) {
			return true
		}
	default:
		w.pending.Add(1)
	}
	if !x.writer(o.Lane).add(o) {
		w.ended(1)
		return false
	}
	return true
}

// follows makes an output of several lanes wait for what these have. It reports whether there was anything.
func (x *Outlet[X]) follows(o *Output[X]) bool {
	o.before.Store(1) // so that it does not go before all lanes were looked at
	x.writer(o.Lane).follow(o, o.Lane)
	for _, hash := range o.More {
		x.writer(hash).follow(o, hash)
	}
	return o.before.Add(-1) > 0
}

// release lets go of outputs for which one lane less has to become empty.
func (x *Outlet[X]) release(outputs []*Output[X]) {
	for _, o := range outputs {
		if o.before.Add(-1) == 0 {
			x.enqueue(o)
		}
	}
}

// enqueue hands an output that has waited to its writer.
func (x *Outlet[X]) enqueue(o *Output[X]) {
	if !x.writer(o.Lane).add(o) {
		x.dropped([]*Output[X]{o})
	}
}

func (x *Outlet[X]) writer(hash uint64) *writer[X] { return x.writers[hash%uint64(len(x.writers))] }

// Cut drops the outputs of an owner whose Cut was called, but for those in a Write under way; that is told to return.
func (x *Outlet[X]) Cut(w *Owner[X]) {
	for _, wr := range x.writers {
		wr.cut(w)
	}
	if o := w.last.Load(); o != nil && o.to == x && w.last.CompareAndSwap(o, nil) {
		x.dropped([]*Output[X]{o})
	}
}

// Failing reports whether the last Write for a lane with this hash failed: what is added may wait long.
func (x *Outlet[X]) Failing(lane uint64) bool { return x.writer(lane).failing.Load() }

// End ends an output that Refused holds. It does nothing if the output was cut.
func (x *Outlet[X]) End(o *Output[X]) { x.writer(o.Lane).end(o) }

func (x *Outlet[X]) dropped(outputs []*Output[X]) {
	if len(outputs) == 0 {
		return
	}
	x.hooks.Dropped(outputs)
	count(outputs)
}

// count says that outputs have ended.
func count[X any](outputs []*Output[X]) {
	for i := 0; i < len(outputs); {
		w, n := outputs[i].Owner, int64(0)
		for ; i < len(outputs) && outputs[i].Owner == w; i++ {
			n++
		}
		w.ended(n)
	}
}

// Find returns an output of the owner that has reached its writer, has not ended, and matches. It looks at all outputs: for
// a snapshot. found is called with a lock held, must not block, and says what of the output is to be kept.
func (x *Outlet[X]) Find(w *Owner[X], found func(*Output[X]) bool) bool {
	for _, wr := range x.writers {
		if wr.find(w, found) {
			return true
		}
	}
	return false
}

// Close ends the writers, after the Writes under way have returned, and closes those of the sink. Outputs that have not
// ended are forgotten: call Cut before.
func (x *Outlet[X]) Close() error {
	var errs []error
	for _, w := range x.writers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}
