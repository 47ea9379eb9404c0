package pipeline

import (
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// diverts has what the partitions share: the bytes in the store, and the room for records that are loaded.
type diverts struct {
	limit int64
	bytes atomic.Int64
	full  atomic.Bool // Limits.DivertBytes is reached, and an eighth of it is not free yet

	freed atomic.Bool // full has become false; wake has not been called since

	least int // messages that a window may take whatever is free: those of a turn

	mu   sync.Mutex
	all  budget.Usage // the pool of windows
	room budget.Usage // what is free of it
}

// init sets the limits. The pool of windows has an eighth of the budget, and as many messages as batchWindows turns of batches
// have: with fewer, a handler of batches would get single messages once some keys are diverted.
func (x *diverts) init(c config) {
	l := c.limits
	x.limit, x.least = l.DivertBytes, 64
	x.all = budget.Usage{Messages: max(1, l.InFlight/8), Bytes: max(1, l.InFlightBytes/8)}
	if c.batches {
		x.least = l.MaxBatch
		x.all.Messages = max(x.all.Messages, batchWindows*l.MaxBatch)
	}
	x.room = x.all
}

// batchWindows is a number of keys. Messages of windows take about 230 bytes each beside their payload, so at a MaxBatch of 64
// they take 4 MB at most.
const batchWindows = 256

// add adds to the bytes in the store.
func (x *diverts) add(n int64) {
	switch now := x.bytes.Add(n); {
	case now >= x.limit:
		x.full.Store(true)
	case now <= x.limit-x.limit/8 && x.full.CompareAndSwap(true, false):
		x.freed.Store(true)
	}
}

// wake makes all partitions look again whether they may fetch, after an eighth has become free.
func (x *diverts) wake(all []*partition) {
	if !x.freed.CompareAndSwap(true, false) {
		return
	}
	for _, pt := range all {
		pt.gate.poke()
	}
}

// A window takes a part of the free room, so that many keys get one, but at least so many bytes and diverts.least messages.
const (
	partOfRoom = 32
	leastBytes = 64 << 10
)

// take takes room for a window, at most u. It returns none if the pool has no room for a message.
func (x *diverts) take(u budget.Usage) budget.Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	u.Messages = min(u.Messages, max(x.least, x.room.Messages/partOfRoom), x.room.Messages)
	u.Bytes = min(u.Bytes, max(leastBytes, x.room.Bytes/partOfRoom), x.room.Bytes)
	if u.Messages <= 0 || u.Bytes <= 0 {
		return budget.Usage{}
	}
	x.room.Messages, x.room.Bytes = x.room.Messages-u.Messages, x.room.Bytes-u.Bytes
	return u
}

// ample reports whether half of the pool is free.
func (x *diverts) ample() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.room.Messages >= x.all.Messages/2 && x.room.Bytes >= x.all.Bytes/2
}

// give gives room back. Less than nothing takes more, for a window with a message that is larger than what it took.
func (x *diverts) give(u budget.Usage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.room.Messages, x.room.Bytes = x.room.Messages+u.Messages, x.room.Bytes+u.Bytes
}

// depth returns how many messages of a key may wait in its lane before the key is diverted: an eighth of the part of the budget
// that is free behind another fetch, at least 32 and at most half of KeyShare. A fixed depth would not do: a hundred keys just
// below it fill the budget. Nor would all that is free: keys that are diverted by the fetch that fills the budget need a further
// one before they put anything in the store.
func (p *Pipeline) depth() int {
	used, l := p.budget.Stats().Used, p.cfg.limits
	free := l.InFlight - used.Messages - l.FetchMessages
	if bytes := float64(l.InFlightBytes-used.Bytes-l.FetchBytes) / float64(l.InFlightBytes) * float64(l.InFlight); bytes < float64(free) {
		free = int(bytes)
	}
	return max(1, min(max(free/8, 32), l.KeyShare/2))
}
