package keyed

import (
	"math"
	"slices"
)

// claimLocked gives w the lanes to run next: one, or while turns are short as many as make about shortTurn of work. It
// never takes more than the worker's part of the ready lanes.
func (e *Executor[T]) claimLocked(w *worker[T], now int64) {
	k := 1
	if e.avg < shortTurn {
		k = min(int(shortTurn/max(e.avg, 1)), maxClaim, 1+e.ready.len()/e.procs)
	}
	w.entries = w.entries[:0]
	for len(w.entries) < k {
		l, since := e.ready.pop()
		if l == nil {
			break
		}
		if !l.table.queue.fenced { // otherwise Fence finds the lane in the table
			e.takeLocked(w, l, since)
		}
	}
	if w.n = len(w.entries); w.n == 0 {
		return
	}
	w.at = 0
	w.since = now
	w.word.Store(0)
	e.running++
	w.older = e.newest
	if w.older == nil {
		e.oldest = w
	} else {
		w.older.newer = w
	}
	e.newest = w
	if w.n > 1 {
		w.open = true
		e.open++
		e.tickLocked()
	}
}

// takeLocked makes a ready lane running and takes the items of one turn out of it.
func (e *Executor[T]) takeLocked(w *worker[T], l *lane[T], since uint32) {
	if len(w.entries) == cap(w.entries) {
		w.entries = slices.Grow(w.entries, 1)
	}
	w.entries = w.entries[:len(w.entries)+1]
	en := &w.entries[len(w.entries)-1] // filled in place, since copying memory that was just written stalls the processor
	q := l.table.queue
	en.lane, en.queue, en.since, en.n, en.told = l, q, since, 1, false
	q.turns++
	l.state, l.at, l.taken = Running, uint32(w.number), 1
	switch {
	case l.links == 0 && (l.count == 1 || e.cfg.MaxTurn == 1 || l.single > 0 && !l.has(flagAgain)):
		en.first = l.pop(1)
		l.count--
	case l.head().multi == nil:
		n := 1
		switch {
		case l.has(flagAgain):
			n = l.prefix(int(l.single))
			en.again = l.single
			l.single = 0
			l.flags &^= flagAgain
		case l.single == 0:
			n = l.prefix(e.cfg.MaxTurn)
		}
		en.first, en.n = l.pop(n), int32(n)
		l.count -= uint32(n)
		l.taken = uint16(n)
	default:
		m := l.head().multi
		en.first = m.node
		for _, x := range m.lanes {
			x.pop(1)
			x.links--
			x.state, x.at, x.taken = Running, uint32(w.number), 1
		}
	}
	q.ready -= int(en.n)
	q.running += int(en.n)
}

// untakeLocked undoes takeLocked for an entry whose turn has not started.
func (e *Executor[T]) untakeLocked(en *entry[T]) {
	q := en.queue
	q.running -= int(en.n)
	q.ready += int(en.n)
	if m := en.first.multi; m != nil {
		e.multiBackLocked(m)
		for _, x := range m.lanes {
			e.readyLocked(x, en.since)
		}
	} else {
		en.lane.taken = 0
		en.lane.back(en.first, int(en.n))
		en.lane.repeat(int(en.again))
		e.readyLocked(en.lane, en.since)
	}
	e.turnEndedLocked(q)
}

// back puts a chain of n items back at the front of the lane.
func (l *lane[T]) back(first *node[T], n int) {
	last := first
	for range n - 1 {
		last = last.next
	}
	l.pushFront(first, last)
	l.count += uint32(n)
}

// settleLocked releases the lanes of the finished turns in f, and the worker from its claim. The rest of the work in f is
// done by clean, without the lock.
func (e *Executor[T]) settleLocked(f *flush[T], now int64) {
	if len(f.dead) > 0 { // clean has cleared them
		e.freeLocked(f.dead)
		clear(f.dead)
		f.dead = f.dead[:0]
	}
	for _, q := range f.ended {
		e.turnEndedLocked(q)
	}
	f.ended = f.ended[:0]
	for i := range f.entries {
		e.releaseLocked(&f.entries[i], f, now)
	}
	clear(f.entries)
	f.entries = nil
	if f.turns > 0 {
		e.turns += int64(f.turns)
		e.busy += f.spent
		e.feedLocked(f.spent / int64(f.turns))
		f.turns = 0
	}
	w := f.worker
	if w == nil {
		return
	}
	f.worker = nil
	e.unwatchLocked(w)
	e.running--
	w.n = 0
}

// freeLocked keeps nodes for later items and has the clock trim the surplus.
func (e *Executor[T]) freeLocked(nodes []*node[T]) {
	e.nodes.give(nodes...)
	if len(e.nodes.free) > trimKeep && e.trimAt == math.MaxInt64 && !e.closed {
		e.trimAt = e.now() + trimEvery
		e.byLocked(e.trimAt)
	}
}

// unwatchLocked removes a worker from the list of those whose claims the clock watches.
func (e *Executor[T]) unwatchLocked(w *worker[T]) {
	if w.open {
		w.open = false
		if e.open--; e.open == 0 && e.closed {
			e.poke = e.clockOn // the clock ends after the last open claim, and may no longer watch w
		}
	}
	if w.stalled {
		w.stalled = false
		e.stalled--
		return
	}
	e.unlistLocked(w)
}

func (e *Executor[T]) unlistLocked(w *worker[T]) {
	if w.older == nil {
		e.oldest = w.newer
	} else {
		w.older.newer = w.newer
	}
	if w.newer == nil {
		e.newest = w.older
	} else {
		w.newer.older = w.older
	}
	w.older, w.newer = nil, nil
}

// feedLocked adds a turn duration to the moving average. A longer duration than a tick counts as a tick, so that one
// stuck turn is outweighed a few claims later.
func (e *Executor[T]) feedLocked(turn int64) {
	e.avg += (min(turn, tick) - e.avg) / averageOut
}

// releaseLocked ends a turn: done items leave, the others go back, and the lane gets its next state.
func (e *Executor[T]) releaseLocked(en *entry[T], f *flush[T], now int64) {
	q, l := en.queue, en.lane
	if en.token != nil {
		switch {
		case en.token.state == tokenOver:
			e.unwaitLocked(en)
		case en.done < en.n:
			e.awaitLocked(en, f, now)
			return
		}
	}
	if en.n == 1 && en.done == 1 && l.waiting() == 0 && l.flags == 0 && !q.fenced && en.first.multi == nil { // the usual case: the lane ends
		q.running--
		q.finished++
		f.dead = append(f.dead, en.first)
		e.removeLocked(l)
		e.turnEndedLocked(q)
		return
	}
	done, rest := int(en.done), int(en.n-en.done)
	q.running -= int(en.n)
	q.finished += int64(done)
	late := rest > 0 && q.fenced
	if late { // clean drops them; the turn counts for Wait until then
		q.dropped += int64(rest)
		f.ended = append(f.ended, q)
	} else {
		q.ready += rest
	}
	if en.first.multi != nil {
		e.releaseMultiLocked(en, f, now)
	} else {
		first := en.first
		for range done {
			next := first.next
			f.dead = append(f.dead, first)
			first = next
		}
		l.taken = 0
		if !q.fenced { // otherwise single belongs to the next epoch
			l.single -= min(l.single, uint16(done))
			l.single = max(l.single, en.single)
			l.repeat(min(int(en.again), rest))
		}
		switch {
		case late:
			for range rest {
				next := first.next
				f.late = append(f.late, lateItem[T]{q, first})
				first = next
			}
		case rest > 0:
			l.back(first, rest)
		}
		e.onwardLocked(l, en, now)
	}
	if !late {
		e.turnEndedLocked(q)
	}
}

// onwardLocked sets the state of a lane after a turn.
func (e *Executor[T]) onwardLocked(l *lane[T], en *entry[T], now int64) {
	q := l.table.queue
	l.flags &^= flagEarlier
	if e.cfg.Share > 0 {
		e.shareLocked(q, l)
	}
	switch {
	case l.tail == nil:
		e.removeLocked(l)
	case en.queue == q && !q.fenced && (en.hold || en.park > 0):
		e.parkLocked(l, en.hold, now+en.park, now)
	default:
		e.readyLocked(l, milli(now))
	}
}

// readyLocked makes a lane with items ready. If its first item has several lanes, only the first of them enters the
// scheduler, once the item is first in all.
func (e *Executor[T]) readyLocked(l *lane[T], since uint32) {
	l.state, l.at = Ready, since
	if l.table.queue.fenced {
		return // Fence finds the lane in the table
	}
	if l.links > 0 && l.head().multi != nil { // without links, do not read the first node's memory
		m := l.head().multi
		if m.heads++; m.heads < len(m.lanes) {
			return
		}
		m.heads = 0
		l = m.lanes[0]
	}
	e.ready.push(l, since)
}

// removeLocked removes an empty lane.
func (e *Executor[T]) removeLocked(l *lane[T]) {
	t := l.table
	t.remove(l)
	q := t.queue
	if t.barrier == l {
		t.barrier = nil
	}
	if l.has(flagSlow) {
		e.quickLocked(l)
	}
	*l = lane[T]{}
	e.lanes.put(l)
	if t.barrier == nil && q.gateLen() > 0 {
		e.gatedLocked(q)
	}
	if t.lanes == 0 {
		e.forgetLocked(t)
	}
}

// turnEndedLocked counts a turn of q as ended and wakes Wait after the last one.
func (e *Executor[T]) turnEndedLocked(q *Queue[T]) {
	if q.turns--; q.turns == 0 && q.still != nil {
		e.notes = append(e.notes, q.still)
		q.still = nil
	}
}

// shareLocked updates, for AwaitShare, whether a lane has more items than its share.
func (e *Executor[T]) shareLocked(q *Queue[T], l *lane[T]) {
	if e.cfg.Share == 0 {
		return
	}
	over := uint64(l.waiting())+uint64(l.taken) > uint64(e.cfg.Share)
	if over == l.has(flagOver) {
		return
	}
	l.flags ^= flagOver
	if over {
		q.over++
	} else if q.over--; q.over == 0 {
		e.roomLocked(q)
	}
}

func (e *Executor[T]) roomLocked(q *Queue[T]) {
	if q.room != nil {
		e.notes = append(e.notes, q.room)
		q.room = nil
	}
}

// closeLocked closes a claim: its worker starts no more of its turns, and the lanes not started are ready again.
//
// The turns that have returned, except the last, move to f, and the caller finishes them; the worker keeps the last. If
// f is nil, the worker keeps all.
func (e *Executor[T]) closeLocked(w *worker[T], f *flush[T]) {
	var word uint64
	for {
		word = w.word.Load()
		to := word | closedBit
		if f == nil {
			to |= keepBit
		}
		if word&closedBit != 0 {
			if f == nil || word&keepBit == 0 {
				return // already closed, by its worker or by an earlier call
			}
			to &^= keepBit
		}
		if w.word.CompareAndSwap(word, to) {
			break
		}
	}
	started := int(word & indexMask)
	if word&closedBit == 0 {
		for i := w.n - 1; i >= started; i-- { // backwards, so that no lane overtakes another
			e.untakeLocked(&w.entries[i])
			w.entries[i] = entry[T]{}
			e.overtook++
		}
	}
	if f == nil {
		return
	}
	if w.open {
		w.open = false
		e.open--
	}
	if started > 1 {
		f.own = append(f.own, w.entries[:started-1]...)
		clear(w.entries[:started-1])
	}
}
