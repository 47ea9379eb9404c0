package keyed

import (
	"math"
	"time"
)

// Turn is the argument of one call of [Config.Run]: the first items of one lane.
//
// The Turn and its slice belong to the worker and are valid until Run returns. An item keeps its address and its
// content until it leaves its lane, however often it is parked and run again.
type Turn[T any] struct {
	// Queue is the epoch that the items were submitted to.
	Queue *Queue[T]

	// Items holds the turn's items, oldest first: at least one, at most Config.MaxTurn.
	Items []*T

	// Await, if Run sets it, makes the lane wait for [Executor.Complete]. The items that Result.Done counts leave at
	// once; the others stay until Complete. The Result's Park, Hold and Together are then ignored. If no item stays in
	// the lane, Await has no effect, and the token must not be completed.
	Await *Token[T]

	// Scratch keeps a value of the worker from one of its turns to the next. No two turns use it at the same time.
	Scratch *any

	entry *entry[T]
	names []string // backing array of the slice that Lanes returns
}

// Result is the outcome of a turn. The zero Result runs the same items again as soon as the lane is next. It has four
// fields, 32 bytes at most, so that it is passed in registers.
type Result struct {
	// Done is how many of the turn's items leave the lane, counted from the first. The others keep their place.
	Done int

	// Park delays the lane's next turn by this duration, without a worker. It has no effect if the lane has become
	// empty.
	Park time.Duration

	// Hold makes the lane wait until Resume or ResumeHeld; with Park, at most that long.
	Hold bool

	// Next says how the lane's next items are split into turns. Default: as many in a turn as are there, at most
	// Config.MaxTurn.
	Next Next
}

// Next says how a lane's next items are split into turns. If an earlier number is not used up, the larger of the two
// applies.
type Next int32

// Singly runs the next n items one a turn. Use it after a batch failed without naming a culprit, with n up to the end
// of that batch.
func Singly(n int) Next { return Next(min(max(n, 0), math.MaxUint16)) }

// Together runs the next n items as one turn, even if more wait by then. Use it with Park or Hold to run a batch again
// unchanged.
func Together(n int) Next { return -Singly(n) }

// Lanes returns the names of the turn's lanes and reports whether its item is a barrier. There is one name for an
// ordinary item, several for an item of several lanes, and none for an unordered item or a barrier.
//
// Lanes may be called only from Run and Exited. The names are valid as long as Items is. Lanes locks the executor for a
// moment, so call it only when the names are needed.
func (t *Turn[T]) Lanes() (names []string, isBarrier bool) {
	e, l := t.Queue.e, t.entry.lane
	t.names = t.names[:0]
	e.mu.Lock()
	defer e.unlock()
	switch m := t.entry.first.multi; {
	case m != nil:
		t.names = append(t.names, m.keys...)
	case !l.has(flagUnordered):
		t.names = append(t.names, l.key)
	}
	return t.names, l.has(flagBarrier)
}

// forget drops the references to the last turn, so that a sleeping worker keeps none of it in memory.
func (t *Turn[T]) forget() {
	clear(t.names[:cap(t.names)])
	t.Queue, t.Await, t.entry = nil, nil, nil
}
