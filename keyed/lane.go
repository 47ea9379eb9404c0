package keyed

// node is one item in a lane's list. An item of several lanes has a node in each of them, which share a multi; the
// first of them carries the item.
type node[T any] struct {
	next  *node[T]
	multi *multi[T] // nil for an item of one lane
	item  T         // behind the links: they share a cache line with its first fields
}

// lane is the FIFO of one key in one queue id. It exists while it has items or a turn of it runs, and is in exactly one
// state. All fields are guarded by Executor.mu. A million of them may wait: 64 bytes, a line of the cache, and a test keeps it so.
type lane[T any] struct {
	key   string   // the newest item's, so that a lane that never empties pins no old buffer
	tail  *node[T] // of the circular list of waiting items; nil: none waits
	chain *lane[T] // in a bucket of the table
	table *table[T]

	hash   uint32
	count  uint32 // waiting items of this lane alone
	links  uint32 // waiting nodes of items of several lanes
	at     uint32 // ready: place in the scheduler, else since when (ms); held: the same; parked for a time: place in the heap; running: the worker; waiting: place in Executor.waits
	taken  uint16 // items that the current epoch's running turn has
	single uint16 // so many of the next items run one a turn; with flagAgain, all in the next one
	state  State
	class  uint8 // list of the scheduler it is in, plus 1; 0: in none
	flags  uint8
}

const (
	flagUnordered uint8 = 1 << iota // never found by key
	flagBarrier                     // alone in its queue; unordered too
	flagHeld                        // parked until Resume
	flagTimed                       // parked, and in the heap
	flagOver                        // longer than its share, and counted so
	flagEarlier                     // the running turn is of an earlier epoch
	flagSlow                        // its items wait long: see slow.go
	flagAgain                       // its next turn has as many items as single says
)

// State is what a lane does. It is always exactly one.
type State uint8

const (
	// Ready lanes wait for a worker, or their first item waits to head all its lanes.
	Ready State = iota + 1
	// Running lanes have a turn with a worker. It stays so until the turn returned, also when its queue was fenced.
	Running
	// Parked lanes wait for a time or for Resume, and hold no worker.
	Parked
	// Waiting lanes have a turn that waits for Complete, and hold no worker. As for Running, it stays so when its queue is
	// fenced.
	Waiting
)

// String names the state.
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

// pushFront puts back the chain from first to last.
func (l *lane[T]) pushFront(first, last *node[T]) {
	if l.tail == nil {
		last.next = first
		l.tail = last
		return
	}
	last.next = l.tail.next
	l.tail.next = first
}

// repeat makes the first n items, more than one, the next turn.
func (l *lane[T]) repeat(n int) {
	if n > 1 {
		l.single = uint16(n)
		l.flags |= flagAgain
	}
}

// pop takes the first n nodes, which must be there, as a chain that ends with nil.
func (l *lane[T]) pop(n int) *node[T] {
	if n == 1 && l.waiting() == 1 { // without reading the node
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

// prefix counts the items at the head that a turn of at most limit items may take.
func (l *lane[T]) prefix(limit int) int {
	n := 1
	for p := l.tail.next; n < limit && p != l.tail && p.next.multi == nil; p = p.next {
		n++
	}
	return n
}
