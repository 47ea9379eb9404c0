// Package labels keeps one value for each label that a middleware meets, and drops values that are not needed any more.
package labels

import (
	"sync"
	"time"
)

// Table maps labels to values. A new label costs looks at a few old ones, and those that are unused are dropped. So memory
// follows the number of labels in use, without a goroutine and without a pause for a walk over all of them. A table that gets
// no new labels keeps those it has.
//
// A Table is safe for concurrent use.
type Table[V any] struct {
	create func(label string) V
	idle   func(v V, unused time.Duration) bool

	mu      sync.Mutex
	entries map[string]*entry[V]
}

type entry[V any] struct {
	value V
	used  time.Time
}

// looks is how many entries a new label looks at. With 4 the table stays below 4/3 of the labels in use, on average.
const looks = 4

// New returns an empty table. create makes the value of a new label; it is called without a lock, and a value that another
// goroutine has made meanwhile replaces its result. idle reports whether a value that was unused for a time may be dropped; it
// must not block.
func New[V any](create func(label string) V, idle func(v V, unused time.Duration) bool) *Table[V] {
	return &Table[V]{create: create, idle: idle, entries: make(map[string]*entry[V])}
}

// Get returns the value of a label.
func (t *Table[V]) Get(label string, now time.Time) V {
	t.mu.Lock()
	if e, ok := t.entries[label]; ok {
		e.used = now
		t.mu.Unlock()
		return e.value
	}
	t.mu.Unlock()

	v := t.create(label)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.entries[label]; ok {
		e.used = now
		return e.value
	}
	t.dropLocked(now)
	t.entries[label] = &entry[V]{v, now}
	return v
}

// Len returns the number of labels.
func (t *Table[V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// dropLocked looks at a few entries. The order of a map is random, so every entry has its turn.
func (t *Table[V]) dropLocked(now time.Time) {
	n := 0
	for label, e := range t.entries {
		if n++; n > looks {
			return
		}
		if t.idle(e.value, now.Sub(e.used)) {
			delete(t.entries, label)
		}
	}
}
