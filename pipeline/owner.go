package pipeline

import (
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// owner waits for the reason to release a partition and then releases it, in a goroutine of its own. flow cannot do
// both: it may be blocked in a key function, in Fetch or for room.
//
// A partition gets its owner when there may be a reason: it is revoked or lost, a commit is fenced, flow has ended, or the
// ctx of Run has ended. Until then it needs none, because thousands of partitions may be idle at once.
type owner struct {
	leaving chan source.Leave // receives what the source sends; at most two values
	lost    chan struct{}     // receives a value when a commit is fenced; one slot
	fetched chan error        // receives the result of flow; one slot
	stopped chan struct{}     // closed when flow has ended
}

func newOwner() *owner {
	return &owner{
		leaving: make(chan source.Leave, 2),
		lost:    make(chan struct{}, 1),
		fetched: make(chan error, 1),
		stopped: make(chan struct{}),
	}
}

// post has the owner of a partition.
type post struct {
	own func(*partition, *owner) // starts the goroutine of the owner; constant; must not block

	mu    sync.Mutex
	owner *owner // nil until there is one
}

// attend returns the owner. It starts one if the partition has none.
func (pt *partition) attend() *owner {
	pt.post.mu.Lock()
	defer pt.post.mu.Unlock()
	if pt.post.owner == nil {
		pt.post.owner = newOwner()
		pt.post.own(pt, pt.post.owner)
	}
	return pt.post.owner
}

// revoke passes on a value that the source has sent to Leaving.
func (pt *partition) revoke(l source.Leave) {
	if l.Lost {
		pt.tellLost(keystrand.ErrLost)
	}
	select {
	case pt.attend().leaving <- l:
	default: // more than the contract allows
	}
}

// lose reports to the owner that another process has the partition.
func (pt *partition) lose(err error) {
	pt.tellLost(err)
	select {
	case pt.attend().lost <- struct{}{}:
	default: // already reported
	}
}

// tellLost tells once that another process may have the partition.
func (pt *partition) tellLost(err error) {
	if !pt.lost.Swap(true) {
		pt.report.tell(pt, Event{Kind: EventLost, Err: err})
	}
}
