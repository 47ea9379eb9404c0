package keyed

import (
	"strings"
	"sync/atomic"
)

// slowLength is how many items make a lane slow.
const slowLength = 32

// slowLanes counts the slow lanes, those that are or were parked or had many items, by a part of their hashes: so that
// who submits can ask for each item, without a lock, whether it is about to wait long. Written with Executor.mu held,
// read without it. A set of their keys would be exact, and would cost a lock and a look-up for each item.
type slowLanes struct {
	lanes  atomic.Int64
	byHash [4096]atomic.Int32
}

func (s *slowLanes) of(hash uint32) *atomic.Int32 { return &s.byHash[hash%uint32(len(s.byHash))] }

// isSlow tells whether a lane with this hash may be slow.
func (e *Executor[T]) isSlow(hash uint32) bool {
	return e.slow.lanes.Load() > 0 && e.slow.of(hash).Load() > 0
}

// slowLocked makes a lane slow, until it is gone. Its key becomes a copy of its own: as a piece of a message it would
// keep alive what the message was read into.
func (e *Executor[T]) slowLocked(l *lane[T]) {
	if l.has(flagSlow | flagUnordered) {
		return
	}
	l.flags |= flagSlow
	l.key = strings.Clone(l.key)
	e.slow.lanes.Add(1)
	e.slow.of(l.hash).Add(1)
}

// quickLocked takes a slow lane that goes out of the count.
func (e *Executor[T]) quickLocked(l *lane[T]) {
	e.slow.lanes.Add(-1)
	e.slow.of(l.hash).Add(-1)
}
