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
	if w.pending.Add(-n) == 1 {
		w.releaseLast()
	}
	w.changed()
}

func (w *Owner[X]) releaseLast() {
	if o := w.last.Swap(nil); o != nil {
		o.to.enqueue(o)
	}
}
