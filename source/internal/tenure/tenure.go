// Package tenure has the state of one ownership of a partition: it may be revoked, be lost, and be released. Each source
// decides when; the rules of [source.Partition] about what follows are here.
package tenure

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Tenure is the state of one ownership. A Tenure is safe for concurrent use. Its methods do not block.
type Tenure struct {
	name    string // package of the source; starts every error
	id      source.ID
	leaving chan source.Leave // has room for both values
	over    atomic.Bool       // revoked or lost

	mu       sync.Mutex
	left     chan struct{} // closed when the partition is revoked or lost; nil before Left
	lost     bool
	why      string // reason of the loss
	released bool
	frontier int64 // of the last commit that was allowed
}

// New returns the Tenure of a partition whose progress starts at this frontier. name is the package of the source.
func New(name string, id source.ID, frontier int64) *Tenure {
	return &Tenure{name: name, id: id, leaving: make(chan source.Leave, 2), frontier: frontier}
}

// Leaving returns the channel that [source.Partition] promises.
func (t *Tenure) Leaving() <-chan source.Leave { return t.leaving }

// Left returns a channel that is closed when the partition is revoked or lost, for Fetch to wait on. It is made by the first
// call, since thousands of partitions may be idle and not every source needs it.
func (t *Tenure) Left() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == nil {
		t.left = make(chan struct{})
		if t.over.Load() {
			close(t.left)
		}
	}
	return t.left
}

// Over reports whether the partition is revoked or lost. It costs one atomic load.
func (t *Tenure) Over() bool { return t.over.Load() }

// Revoke tells the pipeline to release the partition. It reports false, and does nothing, if the partition is already
// revoked, lost or released.
func (t *Tenure) Revoke(l source.Leave) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released || t.over.Load() {
		return false
	}
	t.leaveLocked(l)
	return true
}

// Lose tells the pipeline that the partition is lost. From now on no commit is allowed. It reports false, and does
// nothing, if the partition is already lost or released.
func (t *Tenure) Lose(why string) bool { return t.LoseAfter(why, func() {}) }

// LoseAfter is Lose, and calls record before it tells the pipeline: a caller that sees the Leave also sees what was recorded.
func (t *Tenure) LoseAfter(why string, record func()) bool {
	t.mu.Lock()
	if t.released || t.lost {
		t.mu.Unlock()
		return false
	}
	t.lost, t.why = true, why
	t.mu.Unlock()
	record()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaveLocked(source.Leave{Lost: true})
	return true
}

func (t *Tenure) leaveLocked(l source.Leave) {
	if !t.over.Swap(true) && t.left != nil {
		close(t.left)
	}
	t.leaving <- l // never blocks: each of the two values is sent at most once
}

// Release ends the ownership. It fails if the partition is already released.
func (t *Tenure) Release() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released {
		return fmt.Errorf("%s: release of %v: it is already released", t.name, t.id)
	}
	t.released = true
	return nil
}

// Commit reports, with a nil error, that progress with this frontier may be stored. A lost or released partition may store
// nothing, and a frontier never decreases.
func (t *Tenure) Commit(frontier int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.released:
		return fmt.Errorf("%s: commit of %v: the partition is released: %w", t.name, t.id, commit.ErrFenced)
	case t.lost:
		return fmt.Errorf("%s: commit of %v: the partition is lost: %w", t.name, t.id, commit.ErrFenced)
	case frontier < t.frontier:
		return fmt.Errorf("%s: commit of %v: the frontier decreases from %d to %d", t.name, t.id, t.frontier, frontier)
	}
	t.frontier = frontier
	return nil
}

// Lost reports whether the partition is lost, and why.
func (t *Tenure) Lost() (why string, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why, t.lost
}

// Released reports whether Release was called.
func (t *Tenure) Released() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.released
}
