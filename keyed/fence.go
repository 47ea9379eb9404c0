package keyed

// Fence ends the epoch. When it returns, no turn of this queue starts any more (I7), Submit accepts nothing, and all
// waiting items are dropped.
//
// Fence does not wait for turns that have started; Wait does. A turn has started once its worker has committed to it,
// just before it calls Run, so the worker may enter Run after Fence has returned. Items that such a turn leaves undone
// are dropped when it returns. Items that wait for Complete keep waiting, because their operation is under way; Wait
// waits for them too.
//
// drop is called once for each dropped item, with no lock held, so each item ends by exactly one call of Finish or of
// drop. Fence calls it, and later workers, the clock, Complete and a concurrent Submit may, concurrently. It may be
// nil. Only the first call's drop is used; further calls of Fence wait until the first one ends. Do not call Fence from
// drop.
func (q *Queue[T]) Fence(drop func(*T)) {
	e := q.e
	e.mu.Lock()
	if q.emptied {
		e.unlock()
		return
	}
	if q.fenced {
		cleared := q.cleared
		e.unlock()
		<-cleared
		return
	}
	q.drop, q.fenced, q.cleared = drop, true, make(chan struct{})
	e.roomLocked(q)
	workers := len(e.workers)
	for from := 0; from < workers; from += 256 {
		if from > 0 {
			e.unlock()
			e.mu.Lock()
		}
		for _, w := range e.workers[from:min(from+256, len(e.workers))] {
			if w != nil && w.claims(q) {
				e.closeLocked(w, nil)
			}
		}
		e.wakeLocked()
	}
	e.unlock()
	q.empty()
	e.mu.Lock()
	q.emptied = true
	e.notes = append(e.notes, q.cleared)
	if q.t.queue == q {
		e.forgetLocked(q.t)
	}
	e.unlock()
}

// claims reports whether the worker has claimed, but not started, an entry of q.
func (w *worker[T]) claims(q *Queue[T]) bool {
	if w.n == 0 {
		return false
	}
	word := w.word.Load()
	if word&closedBit != 0 {
		return false
	}
	for i := int(word & indexMask); i < w.n; i++ {
		if w.entries[i].queue == q {
			return true
		}
	}
	return false
}

// empty drops all waiting items, some hundred at a time under the lock. No lane of the queue can become ready
// meanwhile. Lanes whose turn still runs stay, and stay Running (I2).
func (q *Queue[T]) empty() {
	e := q.e
	var batch []*node[T]
	flush := func() {
		for _, n := range batch {
			if q.drop != nil {
				q.drop(&n.item)
			}
			*n = node[T]{}
		}
	}
	e.mu.Lock()
	again := func() {
		e.unlock()
		flush()
		e.mu.Lock()
		e.nodes.give(batch...)
		clear(batch)
		batch = batch[:0]
	}
	for q.gateLen() > 0 {
		s := &q.gate[q.gateFrom]
		q.gateFrom++
		q.ready--
		q.dropped++
		batch = append(batch, s.node)
		*s = staged[T]{}
		if len(batch) >= joinAtOnce {
			again()
		}
	}
	q.gate, q.gateFrom = nil, 0
	bits := q.t.level
	for step := range uint32(1) << bits {
		if step&(pageSize-1) == 0 || len(batch) >= joinAtOnce {
			again()
		}
		for full := true; full; {
			full = false
			q.t.walk(step, bits, func(l *lane[T]) {
				if !full {
					batch = e.dropLaneLocked(q, l, batch)
					full = len(batch) >= joinAtOnce
				}
			})
			if full {
				again()
			}
		}
	}
	again()
	e.unlock()
}

// dropLaneLocked moves waiting items of a lane to batch, until batch has joinAtOnce.
func (e *Executor[T]) dropLaneLocked(q *Queue[T], l *lane[T], batch []*node[T]) []*node[T] {
	if l.class != 0 {
		e.ready.remove(l)
	}
	if l.state == Parked {
		if l.has(flagTimed) {
			e.heapRemoveLocked(int(l.at))
		}
		l.flags &^= flagTimed | flagHeld
		q.parked -= int(l.count)
		q.ready += int(l.count)
		l.state = Ready
		e.parked--
	}
	l.single = 0 // flagAgain needs no reset: a lane with a turn never has it, and others are removed
	for l.tail != nil && len(batch) < joinAtOnce {
		n := l.pop(1)
		m := n.multi
		if m == nil {
			l.count--
			q.ready--
			q.dropped++
			batch = append(batch, n)
			continue
		}
		l.links--
		if n == m.node {
			if m.parked {
				q.parked--
			} else {
				q.ready--
			}
			q.dropped++
			batch = append(batch, n)
			m.node = nil // the node will be reused for another item
		} else {
			e.freeLinkLocked(n)
		}
		if m.left--; m.left == 0 {
			e.freeMultiLocked(m)
		}
	}
	if l.tail != nil {
		return batch
	}
	if l.has(flagOver) {
		l.flags &^= flagOver
		q.over--
	}
	if l.state == Running || l.state == Waiting {
		l.taken = 0
		l.flags |= flagEarlier
		return batch
	}
	e.removeLocked(l)
	return batch
}
