// Package budget bounds the messages and bytes that are fetched and not yet settled, over all partitions of a pipeline.
//
// Half of the limit is divided into guarantees, one for each partition, that are never lent. The other half is a pool
// that any partition may use. Usage may exceed the limit by one batch for each partition, because Await precedes a fetch
// and Take follows it. A partition with nothing in flight always gets a batch.
//
// The package knows no messages, only their number and size.
package budget

import (
	"context"
	"sync"
)

// Budget counts the usage of all partitions. [New] makes it. It is safe for concurrent use, also for the same [Share].
type Budget struct {
	limit Usage
	batch Usage // the largest batch of one fetch

	mu     sync.Mutex
	shares map[*Share]struct{} // of the partitions owned now
	lent   Usage               // taken from the pool: the sum of the usage of shares beyond their guarantees
	used   Usage               // by all shares
	owed   int                 // how many shares have their field owed set
	most   Usage               // the maximum of used, in each measure
	big    int64               // messages larger than the byte limit, each fetched alone
}

// New returns a Budget without shares that allows limit in flight. batch is the largest batch of one fetch.
func New(limit, batch Usage) *Budget {
	return &Budget{limit: limit, batch: batch, shares: map[*Share]struct{}{}}
}

// Open adds a share for a partition. The guarantees of the other shares shrink. [Budget.Close] removes it.
func (b *Budget) Open() *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &Share{room: sync.Cond{L: &b.mu}}
	b.shares[s] = struct{}{}
	b.owedLocked(s)
	b.shareOutLocked()
	return s
}

// Close removes s and gives back all that it still uses. A later Close or Give of s does nothing. Await and Take of s
// must not follow.
func (b *Budget) Close(s *Share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	b.fetchingLocked(s, false)
	b.used = b.used.minus(s.used)
	delete(b.shares, s)
	b.shareOutLocked()
}

// shareOutLocked recounts lent after the guarantees have changed. O(partitions), only at a hand-over.
func (b *Budget) shareOutLocked() {
	b.lent = Usage{}
	g := b.guaranteeLocked()
	for s := range b.shares {
		b.lent = b.lent.Plus(s.used.over(g))
	}
	b.wakeLocked()
}

// wakeLocked wakes every share that waits. O(partitions), only when the pool or the guarantees have changed.
func (b *Budget) wakeLocked() {
	for s := range b.shares {
		if s.waiting {
			s.room.Broadcast()
		}
	}
}

// guaranteeLocked returns the usage that each share has for itself.
func (b *Budget) guaranteeLocked() Usage {
	n := max(1, len(b.shares))
	h := b.limit.half()
	return Usage{max(1, h.Messages/n), max(1, h.Bytes/n)}
}

// Await blocks until s may fetch another batch. If ctx ends first, it returns context.Cause(ctx). After nil, call Take
// when the fetch has returned, or Close.
func (b *Budget) Await(ctx context.Context, s *Share) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hasRoomLocked(s) {
		b.fetchingLocked(s, true)
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		s.room.Broadcast()
	})
	defer stop()
	s.waiting = true
	defer func() { s.waiting = false }()
	for !b.hasRoomLocked(s) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.room.Wait()
	}
	b.fetchingLocked(s, true)
	return nil
}

// hasRoomLocked reports whether s may fetch another batch.
func (b *Budget) hasRoomLocked(s *Share) bool {
	if s.used.Messages == 0 {
		return true
	}
	if s.used.within(b.guaranteeLocked()) {
		return !b.crowdedLocked()
	}
	return b.lent.within(b.limit.half())
}

// crowdedLocked reports whether one more batch, on top of those that are owed, would exceed the limit by more than one
// batch for each share. This happens only after Open, while other shares still use what became the guarantee of the new
// one.
func (b *Budget) crowdedLocked() bool {
	more := b.owed + 1 - len(b.shares)
	return b.used.Messages+more*b.batch.Messages > b.limit.Messages || b.used.Bytes+more*b.batch.Bytes > b.limit.Bytes
}

// fetchingLocked records whether s has a batch under way.
func (b *Budget) fetchingLocked(s *Share, fetching bool) {
	s.fetching = fetching
	b.owedLocked(s)
}

// owedLocked updates whether s may fetch a batch regardless of other shares.
func (b *Budget) owedLocked(s *Share) {
	owed := !s.closed && (s.fetching || s.used.Messages == 0)
	switch {
	case owed && !s.owed:
		b.owed++
	case !owed && s.owed:
		b.owed--
	}
	s.owed = owed
}

// Take adds u, a batch that was fetched, to the usage of s.
func (b *Budget) Take(s *Share, u Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.Messages == 1 && u.Bytes > b.limit.Bytes {
		b.big++
	}
	crowded := b.crowdedLocked()
	b.fetchingLocked(s, false)
	b.moveLocked(s, s.used.Plus(u))
	if crowded && !b.crowdedLocked() { // the fetched batch was not full
		b.wakeLocked()
	}
	b.most.Messages, b.most.Bytes = max(b.most.Messages, b.used.Messages), max(b.most.Bytes, b.used.Bytes)
}

// Give subtracts u, which was settled, from the usage of s and wakes the shares that have room now.
func (b *Budget) Give(s *Share, u Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.closed {
		return
	}
	pool := b.limit.half()
	dry, crowded := !b.lent.within(pool), b.crowdedLocked()
	b.moveLocked(s, s.used.minus(u))
	switch {
	case dry && b.lent.within(pool), crowded && !b.crowdedLocked():
		b.wakeLocked()
	case s.waiting && b.hasRoomLocked(s):
		s.room.Broadcast()
	}
}

// moveLocked sets the usage of s.
func (b *Budget) moveLocked(s *Share, to Usage) {
	g := b.guaranteeLocked()
	b.lent = b.lent.minus(s.used.over(g)).Plus(to.over(g))
	b.used = b.used.minus(s.used).Plus(to)
	s.used = to
	b.owedLocked(s)
}

// Stats is the state of a [Budget] at one moment.
type Stats struct {
	Used      Usage // in flight now
	Most      Usage // the maximum of Used so far, in each measure
	Oversized int64 // messages larger than the byte limit so far, each fetched alone
}

// Of returns the usage of a share, and what is guaranteed to it.
func (b *Budget) Of(s *Share) (used, guaranteed Usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.used, b.guaranteeLocked()
}

// Stats returns the state of b.
func (b *Budget) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Used: b.used, Most: b.most, Oversized: b.big}
}
