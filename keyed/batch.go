package keyed

import (
	"reflect"
	"slices"
)

// Batch is what one Submit hands over. It is the queue's own and used again and again, by its one submitting goroutine.
type Batch[T any] struct {
	q      *Queue[T]
	staged []staged[T]
	more   []hashed   // keys of items that have several
	free   []*node[T] // from used on: in the order they left, which is about that of their addresses
	used   int

	slow bool // the lane of the item that was added last is slow
}

// staged is an item on its way to its lanes.
type staged[T any] struct {
	node *node[T]
	key  string
	hash uint32
	kind kind
	more []hashed // all keys of an item that has several; else nil
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

// Add adds an item to a lane, or to several, in which it then takes its turn when it heads them all; lanes named twice
// count once, and the empty name is a name like others. It returns the item, zero, to be filled in place before Submit.
// The names' bytes are kept, not copied, as long as the lane exists: they must not change. Costs no lock.
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

// AddUnordered adds an item with a lane of its own, which it shares with no other.
func (b *Batch[T]) AddUnordered() *T {
	b.slow = false
	return &b.stage(unordered).node.item
}

// AddBarrier adds an item that runs after all that were submitted before it have left, alone, and before all that come
// after it. "All" are those of the queue's id: also what an earlier epoch still runs.
func (b *Batch[T]) AddBarrier() *T {
	b.slow = false
	return &b.stage(barrier).node.item
}

// Slow tells whether the item that was added last will wait long, as far as can be told: its lane is parked, or has many
// items before it. Such an item should not keep more memory alive than it needs, such as a whole buffer by a piece of it.
// Now and then it is true for an item that will not.
func (b *Batch[T]) Slow() bool { return b.slow }

// Len is how many items were added since the last Submit.
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
	s := &b.staged[n] // zero, see reset; filled in place: a copy of what was written a moment ago stalls the processor
	s.node, s.kind = b.free[b.used], k
	b.used++
	return s
}

// refill gets nodes from the executor, or new ones: many in one allocation.
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

// chunkOf is how many nodes are allocated together, and so freed together: few enough that one long parked item pins
// little, and as many as fit in 16 KiB beside the allocator's own 8 bytes.
func chunkOf[T any]() int {
	return max((16<<10-8)/int(reflect.TypeFor[node[T]]().Size()), 8)
}

// reset empties the batch; its items from the first that were not submitted are given back.
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
