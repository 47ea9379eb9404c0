package outlet

import "sync/atomic"

// Owner is one ownership of a partition, as its outputs know it. It is safe for concurrent use.
type Owner[X any] struct {
	changed func()
	pending atomic.Int64              // outputs that have not ended
	cut     atomic.Bool               // nothing is added any more
	last    atomic.Pointer[Output[X]] // of all lanes; waits until it is the only one that has not ended
}

// NewOwner returns an Owner without outputs. changed is called after some of its outputs have ended, with no lock held.
func NewOwner[X any](changed func()) *Owner[X] { return &Owner[X]{changed: changed} }

// Pending returns how many outputs have not ended. It falls after the hooks were told.
func (w *Owner[X]) Pending() int64 { return w.pending.Load() }

// Cut makes every later [Outlet.Add] of the owner fail. Call [Outlet.Cut] of each outlet afterwards.
func (w *Owner[X]) Cut() { w.cut.Store(true) }

// ended counts outputs that have ended, and lets go the one that waits for all others.
func (w *Owner[X]) ended(n int64) {
	if n == 0 {
		return
	}
	w.pending.Add(-n)
	w.releaseLast()
	w.changed()
}

// releaseLast lets go the output of all lanes when it is the only one that has not ended. That is counted before it is
// stored, and nothing is added behind it: so if it is there, a count of 1 is its own. Each count that falls and each output
// that is stored is followed by a call.
func (w *Owner[X]) releaseLast() {
	if o := w.last.Load(); o != nil && w.pending.Load() == 1 && w.last.CompareAndSwap(o, nil) {
		o.to.enqueue(o)
	}
}
