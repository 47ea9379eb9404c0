package keyed

import (
	"strings"
	"sync/atomic"
)

// slowLength is the number of waiting items that makes a lane slow.
const slowLength = 32

// slowLanes counts the slow lanes by a part of their hash. A lane is slow from the first time it is parked or has
// slowLength items until it ends. The submitting goroutine can so ask for each item, without a lock, whether it is
// likely to wait long. A set of keys would be exact, but cost a lock and a look-up for each item.
//
// Written with Executor.mu held, read without it.
type slowLanes struct {
	lanes  atomic.Int64
	byHash [4096]atomic.Int32
}

func (s *slowLanes) of(hash uint32) *atomic.Int32 { return &s.byHash[hash%uint32(len(s.byHash))] }

// isSlow reports whether a lane with this hash may be slow.
func (e *Executor[T]) isSlow(hash uint32) bool {
	return e.slow.lanes.Load() > 0 && e.slow.of(hash).Load() > 0
}

// slowLocked marks a lane as slow until it ends. It copies the key: as a part of a message it would keep the message's
// whole buffer in memory.
func (e *Executor[T]) slowLocked(l *lane[T]) {
	if l.has(flagSlow | flagUnordered) {
		return
	}
	l.flags |= flagSlow
	l.key = strings.Clone(l.key)
	e.slow.lanes.Add(1)
	e.slow.of(l.hash).Add(1)
}

// quickLocked removes a slow lane from the count when the lane ends.
func (e *Executor[T]) quickLocked(l *lane[T]) {
	e.slow.lanes.Add(-1)
	e.slow.of(l.hash).Add(-1)
}
