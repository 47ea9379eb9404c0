package keyed

import (
	"slices"
	"time"
)

// Lane is a lane as [Queue.Lanes] found it.
type Lane[T any] struct {
	Key       string
	Unordered bool // the lane of one item without a key, or of a barrier
	Barrier   bool
	Len       int // items, the running turn's of this epoch included
	State     State
	Since     time.Time // running: its claim began; waiting: its turn returned; ready: it got ready (to the millisecond); held: it was parked; else zero
	Note      uint8     // waiting: that of its token
	Until     time.Time // parked for a time: its end; else zero
	Held      bool      // parked until Resume

	// Head is a copy of its oldest item, which of a running or waiting lane may be of the earlier epoch; of a running lane it
	// is what Config.Peek says. Zero where there is none to be had.
	Head T

	// EarlierEpoch: a turn of an earlier epoch still runs or waits, and the lane waits for it.
	EarlierEpoch bool
}

// Lanes calls visit for each lane of the queue's id that has items or runs, those of a later epoch too, until visit says
// false. Lanes are copied some
// at a time under the lock and visited with none held: each as it was at a moment during the call, those that exist
// throughout exactly once. Items behind a barrier have no lane yet. It may take long with very many lanes; it never holds
// up workers for longer than it takes to copy some hundred.
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

// pieces calls locked for each lane with the lock held, and between some hundred of them, with no lock held, between.
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
		x.Until = e.base.Add(time.Duration(e.heap[l.at].until))
	case l.class != 0:
		x.Since = e.sinceLocked(e.ready.since(l))
	default:
		x.Since = e.sinceLocked(l.at)
	}
	n := l.head()
	if m := n.multi; m != nil {
		if n = m.node; n == nil {
			return x // Fence has dropped it
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

// sinceLocked turns the milliseconds a lane remembers into a time.
func (e *Executor[T]) sinceLocked(at uint32) time.Time {
	now := e.now()
	return e.base.Add(time.Duration(now) - time.Duration(milli(now)-at)*time.Millisecond)
}
