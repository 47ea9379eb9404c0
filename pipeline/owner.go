package pipeline

import (
	"sync"

	"github.com/keystrand/keystrand/source"
)

// owner waits for the reason to release a partition and then releases it, in a goroutine of its own. flow cannot do
// both: it may be blocked in a key function, in Fetch or for room.
//
// An idle partition has no owner, because thousands may be idle at once. Nothing of it is in flight, and flow waits in
// Fetch, which returns when the source revokes the partition. It gets an owner
//
//   - from flow, when Fetch has returned or a pause blocks flow;
//   - from a fenced commit;
//   - from the committer, when the ctx of Run ends, or at the tick after the partition is revoked: Fetch may not return.
type owner struct {
	told    *source.Leave // received from Leaving before the owner began; nil if nothing was
	fetched chan error    // receives the result of flow; one slot
	lost    chan error    // receives the error of a fenced commit; one slot
	retire  chan struct{} // asks the owner to end, because the partition is idle; one slot
	stopped chan struct{} // closed when flow has ended
}

func newOwner() *owner {
	return &owner{
		fetched: make(chan error, 1),
		lost:    make(chan error, 1),
		retire:  make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// post has the owner of a partition.
type post struct {
	start func(*partition, *owner) // starts the goroutine of an owner; constant; must not block

	mu       sync.Mutex
	owner    *owner // nil: the partition is idle
	retiring bool   // the owner may end
}

// attend returns the owner. It starts one if the partition has none.
func (pt *partition) attend() *owner {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	return pt.attendLocked(nil)
}

func (pt *partition) attendLocked(told *source.Leave) *owner {
	t := &pt.post
	t.retiring = false
	if t.owner == nil {
		t.owner = newOwner()
		t.owner.told = told
		t.start(pt, t.owner)
	}
	return t.owner
}

// attended reports whether the partition has an owner that was not asked to end.
func (pt *partition) attended() bool {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	return pt.post.owner != nil && !pt.post.retiring
}

// attendLeaving starts an owner if the partition has none and must be released.
func (pt *partition) attendLeaving(stopping bool) {
	leaving := pt.source.Leaving()
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	if pt.post.owner != nil {
		return
	}
	select {
	case l := <-leaving:
		pt.attendLocked(&l)
	default:
		if stopping {
			pt.attendLocked(nil)
		}
	}
}

// lose reports to the owner that another owner has the partition.
func (pt *partition) lose(err error) {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	select {
	case pt.attendLocked(nil).lost <- err:
	default: // already reported
	}
}

// retire asks the owner to end. Nothing of the partition may be in flight.
func (pt *partition) retire() {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	if pt.post.owner == nil {
		return
	}
	pt.post.retiring = true
	select {
	case pt.post.owner.retire <- struct{}{}:
	default: // already asked
	}
}

// retired reports whether the owner must end. It is false if the owner has been needed since it was asked.
func (pt *partition) retired() bool {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	if pt.post.retiring {
		pt.post.owner = nil
	}
	return pt.post.owner == nil
}
