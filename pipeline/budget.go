package pipeline

import (
	"context"
	"sync"
)

// budget counts what is fetched and not yet settled, over all partitions, in messages and bytes: the one place that
// does. Half of it is split as guarantees of the partitions that are never lent, half is a pool.
//
// It is asked before a fetch and told after it, so each partition may exceed it by one batch, and a partition that has
// nothing in flight always gets one.
type budget struct {
	limit usage
	batch usage // what one fetch brings at most

	mu     sync.Mutex
	shares map[*share]struct{} // of the partitions owned now
	lent   usage               // what the shares hold beyond their guarantees: taken from the pool
	used   usage               // in all
	owed   int                 // batches that shares may take whatever the others do
	most   usage               // the largest used has been
	big    int64               // messages let in alone because they are larger than the byte budget
}

// usage is an amount of messages and their bytes.
type usage struct{ messages, bytes int }

func (u usage) plus(v usage) usage  { return usage{u.messages + v.messages, u.bytes + v.bytes} }
func (u usage) minus(v usage) usage { return usage{u.messages - v.messages, u.bytes - v.bytes} }
func (u usage) half() usage         { return usage{u.messages / 2, u.bytes / 2} }

// over returns what of u goes beyond v, in each measure.
func (u usage) over(v usage) usage {
	return usage{max(0, u.messages-v.messages), max(0, u.bytes-v.bytes)}
}

// within tells whether u is smaller than v in both measures.
func (u usage) within(v usage) bool { return u.messages < v.messages && u.bytes < v.bytes }

// share is what one partition uses.
type share struct {
	used     usage // all fields are guarded by budget.mu
	room     sync.Cond
	waiting  bool // its fetcher waits for room
	fetching bool // its fetcher has a batch under way
	owed     bool // it may take a batch, because of that or because it has nothing in flight
	closed   bool // the partition was released: what still comes back is ignored
}

func newBudget(limit, batch usage) *budget {
	return &budget{limit: limit, batch: batch, shares: map[*share]struct{}{}}
}

// open makes the share of a new partition, at the expense of the guarantees of the others.
func (b *budget) open() *share {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &share{room: sync.Cond{L: &b.mu}}
	b.shares[s] = struct{}{}
	b.owedLocked(s)
	b.shareOutLocked()
	return s
}

// close gives back all that the share still uses.
func (b *budget) close(s *share) {
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

// shareOutLocked counts anew what is lent, because the guarantees have changed. O(partitions), at a hand-over only.
func (b *budget) shareOutLocked() {
	b.lent = usage{}
	g := b.guaranteeLocked()
	for s := range b.shares {
		b.lent = b.lent.plus(s.used.over(g))
	}
	b.wakeLocked()
}

// wakeLocked wakes every fetcher that waits: O(partitions), only when the pool or the guarantees have changed for all.
func (b *budget) wakeLocked() {
	for s := range b.shares {
		if s.waiting {
			s.room.Broadcast()
		}
	}
}

func (b *budget) guaranteeLocked() usage {
	n := max(1, len(b.shares))
	h := b.limit.half()
	return usage{max(1, h.messages/n), max(1, h.bytes/n)}
}

// await blocks until s may fetch another batch, or ctx ends.
func (b *budget) await(ctx context.Context, s *share) error {
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

func (b *budget) hasRoomLocked(s *share) bool {
	if s.used.messages == 0 {
		return true
	}
	if s.used.within(b.guaranteeLocked()) {
		return !b.crowdedLocked()
	}
	return b.lent.within(b.limit.half())
}

// crowdedLocked tells whether one more batch, beside those under way and those of partitions that have nothing in flight,
// would exceed the budget by more than one batch a partition. It happens only after a partition was opened, as long as
// the others still use what has become its guarantee.
func (b *budget) crowdedLocked() bool {
	more := b.owed + 1 - len(b.shares)
	return b.used.messages+more*b.batch.messages > b.limit.messages || b.used.bytes+more*b.batch.bytes > b.limit.bytes
}

// fetchingLocked notes whether the share has a batch under way.
func (b *budget) fetchingLocked(s *share, fetching bool) {
	s.fetching = fetching
	b.owedLocked(s)
}

// owedLocked counts anew whether the share may take a batch, whatever the others do.
func (b *budget) owedLocked(s *share) {
	owed := !s.closed && (s.fetching || s.used.messages == 0)
	switch {
	case owed && !s.owed:
		b.owed++
	case !owed && s.owed:
		b.owed--
	}
	s.owed = owed
}

// take counts a batch that has been fetched.
func (b *budget) take(s *share, u usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.messages == 1 && u.bytes > b.limit.bytes {
		b.big++
	}
	crowded := b.crowdedLocked()
	b.fetchingLocked(s, false)
	b.moveLocked(s, s.used.plus(u))
	if crowded && !b.crowdedLocked() { // it was less than a batch
		b.wakeLocked()
	}
	b.most.messages, b.most.bytes = max(b.most.messages, b.used.messages), max(b.most.bytes, b.used.bytes)
}

// give counts what has been settled.
func (b *budget) give(s *share, u usage) {
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

func (b *budget) moveLocked(s *share, to usage) {
	g := b.guaranteeLocked()
	b.lent = b.lent.minus(s.used.over(g)).plus(to.over(g))
	b.used = b.used.minus(s.used).plus(to)
	s.used = to
	b.owedLocked(s)
}
