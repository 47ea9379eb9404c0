package keyed

import "time"

// Turn is one call of [Config.Run]: a prefix of one lane.
//
// The Turn and its slice belong to the worker and are valid until Run returned; the items themselves keep their
// address and their content until they have left their lane, however often they are parked and run again.
type Turn[T any] struct {
	// Queue is the epoch its items were submitted to.
	Queue *Queue[T]

	// Items are the turn's items, oldest first; at least one, at most Config.MaxTurn.
	Items []*T

	// Lanes are the names of the lanes that the turn runs for: one, several for an item of several lanes, none for an
	// unordered item or a barrier. They belong to the worker as Items do.
	Lanes []string

	// Barrier reports whether the item is a barrier.
	Barrier bool

	// Await, if Run sets it, makes the lane wait: what Result.Done says leaves, and the rest stays until
	// [Executor.Complete]; Park, Hold and Again of the turn's own Result are ignored. Without items left in the lane it
	// has no effect, and the token must not be completed.
	Await *Token[T]

	// Scratch is the worker's own: what a turn leaves there its next turn finds. It is never shared.
	Scratch *any

	lane [1]string // Lanes of most turns
}

// Result is what a turn came to. The zero Result runs the same items again as soon as the lane is next.
type Result struct {
	// Done is how many of the turn's items leave the lane, counted from the first. The others stay, in their place.
	Done int

	// Park makes the lane wait so long before its next turn, holding no worker. A lane that has become empty is gone
	// and waits for nothing.
	Park time.Duration

	// Hold makes the lane wait until Resume or ResumeHeld; with Park, no longer than that.
	Hold bool

	// Single is how many of the lane's next items run one a turn. For a batch that failed without naming a culprit:
	// run it again one by one up to its old end. A larger number that is not yet used up stays.
	Single int

	// Again makes so many of the lane's next items the next turn, even if more wait by then: for a batch that is to be
	// run as it was, after Park. It goes before Single.
	Again int
}

// name says whose turn it is.
func (t *Turn[T]) name(en *entry[T]) {
	t.Barrier = en.flags&flagBarrier != 0
	switch {
	case en.first.multi != nil:
		t.Lanes = en.first.multi.keys
	case en.flags&flagUnordered != 0:
		t.Lanes = nil
	default:
		t.lane[0] = en.key
		t.Lanes = t.lane[:]
	}
}

// forget keeps nothing of the last turn alive while its worker sleeps.
func (t *Turn[T]) forget() {
	t.Queue, t.Lanes, t.Await, t.lane[0] = nil, nil, nil, ""
}
