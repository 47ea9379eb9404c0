package keyed

import (
	"math"
	"strings"
)

// SetDeep makes Submit report, in [Batch.Deep], the lanes that have more than n waiting items. An n of 0 or less reports
// none, which is the default. Only the submitting goroutine may call it.
func (q *Queue[T]) SetDeep(n int) {
	q.e.mu.Lock()
	defer q.e.unlock()
	q.depth = math.MaxUint32
	if n > 0 {
		q.depth = uint32(min(uint64(n), math.MaxUint32))
	}
}

// Deep returns the names of the lanes that had more than [Queue.SetDeep]'s n waiting items when an item was added to them:
// by the last Submit, or since the Submit before by Put or from behind a barrier. Items of several lanes count, but adding one
// reports nothing. Each name is there once, in any order. The slice is valid until the next Submit.
func (b *Batch[T]) Deep() []string { return b.deep }

// deepLocked records a lane for Batch.Deep.
func (q *Queue[T]) deepLocked(l *lane[T]) {
	if q.deep[l.key] {
		return
	}
	if q.deep == nil {
		q.deep = make(map[string]bool)
	}
	q.deep[strings.Clone(l.key)] = true // the key may be a part of a large buffer
}

// takeDeepLocked moves the recorded lanes to a slice of the batch.
func (q *Queue[T]) takeDeepLocked(names []string) []string {
	if len(names) > 0 {
		clear(names)
		names = names[:0]
	}
	for name := range q.deep {
		names = append(names, name)
	}
	clear(q.deep)
	return names
}
