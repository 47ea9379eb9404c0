package keyed

import (
	"reflect"
	"slices"
)

// Batch collects the items of one Submit. It belongs to its queue, which uses it again and again, and to the queue's
// one submitting goroutine.
type Batch[T any] struct {
	q      *Queue[T]
	staged []staged[T]
	more   []hashed   // keys of items of several keys
	free   []*node[T] // unused from index used on; in the order they were freed, which is roughly address order
	used   int

	slow bool     // the lane of the last added item is slow
	deep []string // of the last Submit
}

// staged is an item on its way to its lanes.
type staged[T any] struct {
	node *node[T]
	key  string
	hash uint32
	kind kind
	more []hashed // all keys of an item of several keys; else nil
}

type hashed struct {
	key  string
	hash uint32
}

type kind uint8

const (
	ordered kind = iota
	unordered
	barrier
)

// Add adds an item to one or several lanes. An item of several lanes runs when it is first in all of them. Duplicate
// names count once; the empty name is an ordinary name.
//
// Add returns the item, zeroed; fill it in before Submit. The executor keeps the bytes of the names, without a copy, as
// long as the lane exists: do not change them. Add takes no lock, except to get more memory.
func (b *Batch[T]) Add(lane string, more ...string) *T {
	s := b.stage(ordered)
	s.key, s.hash = lane, b.q.e.hashOf(lane)
	b.slow = b.q.e.isSlow(s.hash)
	if len(more) == 0 {
		return &s.node.item
	}
	from := len(b.more)
	b.more = append(b.more, hashed{s.key, s.hash})
	for _, k := range more {
		if !contains(b.more[from:], k) {
			b.more = append(b.more, hashed{k, b.q.e.hashOf(k)})
		}
	}
	if len(b.more)-from > 1 {
		s.more = b.more[from:len(b.more):len(b.more)]
	}
	return &s.node.item
}

// AddUnordered adds an item with a lane of its own, so that no other item waits for it.
func (b *Batch[T]) AddUnordered() *T {
	b.slow = false
	return &b.stage(unordered).node.item
}

// AddBarrier adds an item that runs alone: after all items submitted before it have left, and before all items
// submitted after it. It also waits for items of the same id that an earlier epoch still runs.
func (b *Batch[T]) AddBarrier() *T {
	b.slow = false
	return &b.stage(barrier).node.item
}

// Slow reports whether the last added item is likely to wait long, because its lane is parked or has many items. Such
// an item should not keep a large buffer in memory for the sake of a piece of it. Slow may report false positives.
func (b *Batch[T]) Slow() bool { return b.slow }

// Len returns the number of items added since the last Submit.
func (b *Batch[T]) Len() int { return len(b.staged) }

func (b *Batch[T]) stage(k kind) *staged[T] {
	if b.used == len(b.free) {
		b.refill()
	}
	n := len(b.staged)
	if n == cap(b.staged) {
		b.staged = slices.Grow(b.staged, 1)
	}
	b.staged = b.staged[:n+1]
	s := &b.staged[n] // zeroed by reset; filled in place, since copying memory that was just written stalls the processor
	s.node, s.kind = b.free[b.used], k
	b.used++
	return s
}

// refill gets nodes from the executor or, if it has none, allocates many at once.
func (b *Batch[T]) refill() {
	e := b.q.e
	e.mu.Lock()
	b.refillLocked()
	e.unlock()
	if b.used < len(b.free) {
		return
	}
	chunk := make([]node[T], e.chunk)
	for i := range chunk {
		b.free = append(b.free, &chunk[i])
	}
}

func (b *Batch[T]) refillLocked() {
	if b.used < len(b.free) {
		return
	}
	b.free = b.q.e.nodes.takeMany(b.free[:0], joinAtOnce)
	b.used = 0
}

// chunkOf returns how many nodes are allocated, and so freed, together: as many as fit in 16 KiB beside the allocator's
// own 8 bytes. More would let one parked item keep more memory.
func chunkOf[T any]() int {
	return max((16<<10-8)/int(reflect.TypeFor[node[T]]().Size()), 8)
}

// reset empties the batch and keeps the nodes of staged[first:], which were not submitted, for later items.
func (b *Batch[T]) reset(first int) {
	for _, s := range b.staged[first:] {
		*s.node = node[T]{}
		b.free = append(b.free, s.node)
	}
	clear(b.staged)
	clear(b.more)
	b.staged, b.more = b.staged[:0], b.more[:0]
}

func contains(keys []hashed, key string) bool {
	for i := range keys {
		if keys[i].key == key {
			return true
		}
	}
	return false
}
