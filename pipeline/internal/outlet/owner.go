package outlet

import "sync/atomic"

// Owner counts the outputs of one ownership of a partition. It is safe for concurrent use.
type Owner[X any] struct {
	changed func()
	pending atomic.Int64              // outputs that have not ended
	cut     atomic.Bool               // Add fails
	last    atomic.Pointer[Output[X]] // an output of all lanes that waits for the others to end
}

// NewOwner returns an Owner without outputs. changed is called after some of its outputs have ended, with no lock held.
func NewOwner[X any](changed func()) *Owner[X] { return &Owner[X]{changed: changed} }

// Pending returns the number of outputs that have not ended. It decreases after the hooks have returned.
func (w *Owner[X]) Pending() int64 { return w.pending.Load() }

// Cut makes every later [Outlet.Add] of the owner fail. Call [Outlet.Cut] of each outlet afterwards.
func (w *Owner[X]) Cut() { w.cut.Store(true) }

// ended subtracts n outputs that have ended, and enqueues the output of all lanes if no other is left.
func (w *Owner[X]) ended(n int64) {
	if n == 0 {
		return
	}
	w.pending.Add(-n)
	w.releaseLast()
	w.changed()
}

// releaseLast enqueues the output of all lanes if it is the only one that has not ended.
//
// That output is counted before it is stored in last, and the caller adds nothing behind it. So if last is set, a count of 1
// is its own. releaseLast is called after each decrease of pending and after each store to last.
func (w *Owner[X]) releaseLast() {
	if o := w.last.Load(); o != nil && w.pending.Load() == 1 && w.last.CompareAndSwap(o, nil) {
		o.to.enqueue(o)
	}
}
