package keyed

import (
	"slices"
	"time"
)

// Lane describes a lane, as [Queue.Lanes] passes it to visit.
type Lane[T any] struct {
	Key       string
	Unordered bool // lane of one item without a key, or of a barrier
	Barrier   bool
	Len       int // items, with those of a running turn of this epoch
	State     State

	// Since is when the state began: for a running lane its claim, for a waiting lane the return of its turn. Of a ready
	// or parked lane it is known to the millisecond.
	Since time.Time

	Note  uint8     // Token.Note of a waiting lane
	Until time.Time // when a lane parked for a time becomes ready; else zero
	Held  bool      // parked until Resume or ResumeHeld

	// Head is a copy of the lane's oldest item, zero if there is none. For a running lane it has what Config.Peek
	// copies. For a running or waiting lane the item may be of the earlier epoch.
	Head T

	// EarlierEpoch reports that a turn of an earlier epoch still runs or waits for Complete; the lane waits for it.
	EarlierEpoch bool
}

// Lanes calls visit for each lane of the queue's id, until visit returns false. It includes lanes of a later epoch, and
// lanes without items whose turn still runs. Items behind a barrier have no lane yet.
//
// Lanes copies some hundred lanes at a time under the lock and calls visit with no lock held, so it delays workers only
// briefly even if there are very many lanes. Each lane is described at some moment during the call. A lane that exists
// throughout the call is visited exactly once.
func (q *Queue[T]) Lanes(visit func(Lane[T]) bool) {
	var copies []Lane[T]
	more := true
	q.pieces(func(l *lane[T]) {
		copies = append(copies, q.e.describeLocked(l))
	}, func() bool {
		for _, l := range copies {
			if more = more && visit(l); !more {
				break
			}
		}
		clear(copies)
		copies = copies[:0]
		return more
	})
}

// pieces calls locked for each lane with the lock held. After each some hundred lanes it calls between with no lock
// held, and stops if between returns false.
func (q *Queue[T]) pieces(locked func(*lane[T]), between func() bool) {
	e := q.e
	e.mu.Lock()
	bits, n := q.t.level, 0
	for step := range uint32(1) << bits {
		q.t.walk(step, bits, func(l *lane[T]) {
			locked(l)
			n++
		})
		if n >= joinAtOnce || step&pageMask == pageMask {
			e.unlock()
			if !between() {
				return
			}
			n = 0
			e.mu.Lock()
		}
	}
	e.unlock()
	between()
}

func (e *Executor[T]) describeLocked(l *lane[T]) Lane[T] {
	x := Lane[T]{
		Key:          l.key,
		Unordered:    l.has(flagUnordered),
		Barrier:      l.has(flagBarrier),
		Len:          int(l.waiting()) + int(l.taken),
		State:        l.state,
		Held:         l.has(flagHeld),
		EarlierEpoch: l.has(flagEarlier),
	}
	switch {
	case l.state == Running:
		e.describeTurnLocked(l, &x)
		return x
	case l.state == Waiting:
		t := e.waits[l.at]
		x.Since, x.Note = e.base.Add(time.Duration(t.since)), t.Note
		x.Head = t.entry.first.item
		return x
	case l.has(flagTimed):
		x.Since = e.sinceLocked(e.heap[l.at].since)
		x.Until = e.base.Add(time.Duration(e.heap[l.at].until))
	case l.class != 0:
		x.Since = e.sinceLocked(e.ready.since(l))
	default:
		x.Since = e.sinceLocked(l.at)
	}
	n := l.head()
	if m := n.multi; m != nil {
		if n = m.node; n == nil {
			return x // Fence has dropped the item
		}
		if m.parked && m.lanes[0].has(flagTimed) {
			x.Until = e.base.Add(time.Duration(e.heap[m.lanes[0].at].until))
		}
	}
	x.Head = n.item
	return x
}

func (e *Executor[T]) describeTurnLocked(l *lane[T], x *Lane[T]) {
	if int(l.at) >= len(e.workers) || e.workers[l.at] == nil {
		return
	}
	w := e.workers[l.at]
	for i := range w.entries[:w.n] {
		en := &w.entries[i]
		if !en.runs(l) {
			continue
		}
		x.Since = e.base.Add(time.Duration(w.since))
		if e.cfg.Peek != nil {
			e.cfg.Peek(&x.Head, &en.first.item)
		}
		return
	}
}

func (en *entry[T]) runs(l *lane[T]) bool {
	if en.lane == l {
		return true
	}
	if en.first == nil || en.first.multi == nil {
		return false
	}
	return slices.Contains(en.first.multi.lanes, l)
}

// sinceLocked converts the ms stored for a lane to a time.
func (e *Executor[T]) sinceLocked(at uint32) time.Time {
	now := e.now()
	return e.base.Add(time.Duration(now) - time.Duration(milli(now)-at)*time.Millisecond)
}
