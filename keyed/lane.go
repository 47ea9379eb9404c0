package keyed

// node is one item in a lane's list. An item of several lanes has a node in each of them; these share a multi, and the
// first one carries the item.
type node[T any] struct {
	next  *node[T]
	multi *multi[T] // nil if the item has one lane
	item  T         // after the links, so that they share a cache line with its first fields
}

// lane is the FIFO of one key in one queue id. It exists while it has items or runs a turn, and is in exactly one
// state. Executor.mu guards all fields.
//
// A lane has 64 bytes, one cache line, because a million may wait; TestLaneIsSmall checks it.
type lane[T any] struct {
	key   string   // taken from the newest item, so that a lane that never empties keeps no old buffer
	tail  *node[T] // last of the circular list of waiting items; nil if none waits
	chain *lane[T] // next lane in the same bucket
	table *table[T]

	hash   uint32
	count  uint32 // waiting items that have only this lane
	links  uint32 // waiting items that have several lanes
	at     uint32 // depends on the state, see below
	taken  uint16 // items in the running turn, if it is of the current epoch
	single uint16 // this many of the next items run one a turn; with flagAgain, together in the next turn
	state  State
	class  uint8 // index of the scheduler's list that holds the lane, plus 1; 0 if none does
	flags  uint8
}

// The meaning of lane.at depends on the state:
//
//	ready, in the scheduler    place in the scheduler
//	ready, not in it           ms when it became ready
//	parked for a time          place in Executor.heap
//	parked, else               ms when it was parked
//	running                    number of the worker
//	waiting                    place in Executor.waits

const (
	flagUnordered uint8 = 1 << iota // one item without a key; not found by key
	flagBarrier                     // alone in its queue; flagUnordered is set too
	flagHeld                        // parked until Resume
	flagTimed                       // parked, and in the heap
	flagOver                        // longer than its share, and counted in Queue.over
	flagEarlier                     // the turn is of an earlier epoch
	flagSlow                        // its items are likely to wait long: see slow.go
	flagAgain                       // its next turn has exactly single items
)

// State is the state of a lane.
type State uint8

const (
	// Ready lanes wait for a worker, or wait until their first item is first in all its lanes.
	Ready State = iota + 1
	// Running lanes have a turn on a worker. A lane stays Running until the turn returns, even if its queue is fenced.
	Running
	// Parked lanes wait for a time or for Resume, without a worker.
	Parked
	// Waiting lanes have a turn that waits for Complete, without a worker. A lane stays Waiting until Complete, even if
	// its queue is fenced.
	Waiting
)

// String returns the name of the state, such as "ready".
func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Running:
		return "running"
	case Parked:
		return "parked"
	case Waiting:
		return "waiting"
	default:
		return "unknown"
	}
}

func (l *lane[T]) has(flag uint8) bool { return l.flags&flag != 0 }

func (l *lane[T]) waiting() uint32 { return l.count + l.links }

func (l *lane[T]) head() *node[T] { return l.tail.next }

func (l *lane[T]) push(n *node[T]) {
	if l.tail == nil {
		n.next = n
	} else {
		n.next = l.tail.next
		l.tail.next = n
	}
	l.tail = n
}

// pushFront puts the chain from first to last before the lane's items.
func (l *lane[T]) pushFront(first, last *node[T]) {
	if l.tail == nil {
		last.next = first
		l.tail = last
		return
	}
	last.next = l.tail.next
	l.tail.next = first
}

// repeat makes the first n items the next turn if n is more than 1.
func (l *lane[T]) repeat(n int) {
	if n > 1 {
		l.single = uint16(n)
		l.flags |= flagAgain
	}
}

// pop removes the first n nodes and returns them as a chain that ends with nil. The lane must have that many.
func (l *lane[T]) pop(n int) *node[T] {
	if n == 1 && l.waiting() == 1 { // does not read the node's memory
		first := l.tail
		l.tail, first.next = nil, nil
		return first
	}
	first := l.tail.next
	last := first
	for range n - 1 {
		last = last.next
	}
	if last == l.tail {
		l.tail = nil
	} else {
		l.tail.next = last.next
	}
	last.next = nil
	return first
}

// prefix returns how many items from the head a turn may take: at most limit, all of this lane only.
func (l *lane[T]) prefix(limit int) int {
	n := 1
	for p := l.tail.next; n < limit && p != l.tail && p.next.multi == nil; p = p.next {
		n++
	}
	return n
}
