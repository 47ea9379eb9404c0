package outlet

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/sink"
)

// Hooks are the callbacks of an Outlet. Writers' goroutines, Cut and Add call them with no lock held. They may call Add.
type Hooks[X any] struct {
	// Durable receives all outputs that one Write made durable, those of a lane in order. The slice is valid during the call.
	Durable func(outputs []*Output[X])
	// Waits receives an output that a Write did not store, before its first pause. The output may wait long.
	Waits func(o *Output[X])
	// Refused decides about an output that the sink refuses for good.
	Refused func(o *Output[X], cause error) Refusal
	// Dropped receives outputs that were cut before they were durable.
	Dropped func(outputs []*Output[X])
	// Broken receives the error of a Write that breaks its contract. The pipeline should stop.
	Broken func(err error)
	// Safe returns err, or a replacement if a method of err panics.
	Safe func(err error) error
	// Failing receives the error of a writer's first Write that failed, before its outputs are written again.
	Failing func(err error)
}

// Refusal decides about an output that the sink refuses for good.
type Refusal uint8

const (
	// WriteAgain writes the output again after a pause.
	WriteAgain Refusal = iota
	// Rewrite writes the output at once, because Refused has replaced its Messages.
	Rewrite
	// Ended ends the output.
	Ended
	// Hold keeps the output first in its lane, unwritten, until [Outlet.End] or a cut, for instance until the message's dead
	// letter is durable. The outputs behind it wait. A cut ends it without a call of Dropped.
	Hold
	// Halt keeps the output first in its lane, unwritten, until a cut drops it. The outputs behind it wait.
	Halt
)

// Outlet is a sink with its writers. Its methods are safe for concurrent use. Only Close blocks.
type Outlet[X any] struct {
	hooks   Hooks[X]
	writers []*writer[X]
}

// Open opens the given number of writers of s and starts a goroutine for each. Close ends them.
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

// Add appends an output to its lanes. It returns false if the owner is cut; then no hook learns of the output.
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

// follows makes an output of several lanes wait for the outputs that these lanes have. It reports whether there is any.
func (x *Outlet[X]) follows(o *Output[X]) bool {
	o.before.Store(1) // so that the output is not enqueued before all lanes are checked
	x.writer(o.Lane).follow(o, o.Lane)
	for _, hash := range o.More {
		x.writer(hash).follow(o, hash)
	}
	return o.before.Add(-1) > 0
}

// release counts one empty lane for each of the outputs, and enqueues those that wait for no other lane.
func (x *Outlet[X]) release(outputs []*Output[X]) {
	for _, o := range outputs {
		if o.before.Add(-1) == 0 {
			x.enqueue(o)
		}
	}
}

// enqueue passes an output that has waited to its writer.
func (x *Outlet[X]) enqueue(o *Output[X]) {
	if !x.writer(o.Lane).add(o) {
		x.dropped([]*Output[X]{o})
	}
}

func (x *Outlet[X]) writer(hash uint64) *writer[X] { return x.writers[hash%uint64(len(x.writers))] }

// Cut drops the outputs of an owner, after Owner.Cut. It cancels a running Write of the owner's outputs; these end when the
// Write has returned.
func (x *Outlet[X]) Cut(w *Owner[X]) {
	for _, wr := range x.writers {
		wr.cut(w)
	}
	if o := w.last.Load(); o != nil && o.to == x && w.last.CompareAndSwap(o, nil) {
		x.dropped([]*Output[X]{o})
	}
}

// Failing reports whether the last Write of the lane's writer failed. If so, a new output may wait long.
func (x *Outlet[X]) Failing(lane uint64) bool { return x.writer(lane).failing.Load() }

// End ends a held output. It does nothing if the output has already ended.
func (x *Outlet[X]) End(o *Output[X]) { x.writer(o.Lane).end(o) }

func (x *Outlet[X]) dropped(outputs []*Output[X]) {
	if len(outputs) == 0 {
		return
	}
	x.hooks.Dropped(outputs)
	count(outputs)
}

// count tells the owners of outputs that they have ended.
func count[X any](outputs []*Output[X]) {
	for i := 0; i < len(outputs); {
		w, n := outputs[i].Owner, int64(0)
		for ; i < len(outputs) && outputs[i].Owner == w; i++ {
			n++
		}
		w.ended(n)
	}
}

// Find calls found for the owner's outputs that have reached their writer and not ended, until found returns true. It
// reports whether found did. Find visits all outputs, so use it for snapshots only. found runs with a lock held: it must not
// block, and must copy what it needs.
func (x *Outlet[X]) Find(w *Owner[X], found func(*Output[X]) bool) bool {
	for _, wr := range x.writers {
		if wr.find(w, found) {
			return true
		}
	}
	return false
}

// Close waits for running Writes, ends the goroutines, and closes the sink's writers. It drops outputs without a call of
// Dropped: call Cut before.
func (x *Outlet[X]) Close() error {
	var errs []error
	for _, w := range x.writers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}
