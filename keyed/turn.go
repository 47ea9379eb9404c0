package keyed

import (
	"math"
	"time"
)

// Turn is one call of [Config.Run]: a prefix of one lane.
//
// The Turn and its slice belong to the worker and are valid until Run returned; the items themselves keep their
// address and their content until they have left their lane, however often they are parked and run again.
type Turn[T any] struct {
	// Queue is the epoch its items were submitted to.
	Queue *Queue[T]

	// Items are the turn's items, oldest first; at least one, at most Config.MaxTurn.
	Items []*T

	// Await, if Run sets it, makes the lane wait: what Result.Done says leaves, and the rest stays until
	// [Executor.Complete]; Park, Hold and Together of the turn's own Result are ignored. Without items left in the lane it
	// has no effect, and the token must not be completed.
	Await *Token[T]

	// Scratch is the worker's own: what a turn leaves there its next turn finds. It is never shared.
	Scratch *any

	entry *entry[T]
	names []string // what Lanes has returned last
}

// Result is what a turn came to. It has four fields of 32 bytes at most, so that it travels in registers. The zero Result runs the same items again as soon as the lane is next.
type Result struct {
	// Done is how many of the turn's items leave the lane, counted from the first. The others stay, in their place.
	Done int

	// Park makes the lane wait so long before its next turn, holding no worker. A lane that has become empty is gone
	// and waits for nothing.
	Park time.Duration

	// Hold makes the lane wait until Resume or ResumeHeld; with Park, no longer than that.
	Hold bool

	// Next says how the lane's next items run. Default: as many in a turn as are there, at most Config.MaxTurn.
	Next Next
}

// Next is how the next items of a lane run: [Singly] or [Together]. A number that is not used up stays, if it is larger.
type Next int32

// Singly makes the next n items run one a turn: for a batch that failed without naming a culprit, up to its old end.
func Singly(n int) Next { return Next(min(max(n, 0), math.MaxUint16)) }

// Together makes the next n items the next turn, even if more wait by then: for a batch that is to be run as it was, after
// Park or Hold.
func Together(n int) Next { return -Singly(n) }

// Lanes returns the names of the lanes that the turn runs for: one, several for an item of several lanes, none for an
// unordered item or a barrier; and whether it is a barrier. It takes the executor's lock for a moment: few turns need their
// names. It is for the Run and the Exited of the turn; the names belong to the worker as Items do.
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

// forget keeps nothing of the last turn alive while its worker sleeps.
func (t *Turn[T]) forget() {
	clear(t.names[:cap(t.names)])
	t.Queue, t.Await, t.entry = nil, nil, nil
}
