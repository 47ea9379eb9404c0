package keyed

import "slices"

// Items submitted while a barrier waits or runs go to the queue's gate, a FIFO with the barrier itself in front. When
// the queue's id has no lane left, the barrier gets the only one. When the barrier has left, the next worker moves the
// gated items to their lanes, a piece at a time.

func (q *Queue[T]) gateLen() int { return len(q.gate) - q.gateFrom }

// shut appends an item to the gate.
func (q *Queue[T]) shut(s *staged[T]) {
	x := *s
	x.more = slices.Clone(x.more) // the batch reuses its slice
	q.gate = append(q.gate, x)
}

// gatedLocked queues q for ungateLocked if its first gated item can join its lanes now.
func (e *Executor[T]) gatedLocked(q *Queue[T]) {
	if q.joining || q.t.barrier != nil || q.fenced || q.gateLen() == 0 {
		return
	}
	if q.gate[q.gateFrom].kind == barrier && q.t.lanes > 0 {
		return
	}
	q.joining = true
	e.gated = append(e.gated, q)
}

// ungateLocked moves gated items of the first queue in e.gated to their lanes, at most joinAtOnce of them.
func (e *Executor[T]) ungateLocked(now int64) {
	q := e.gated[0]
	e.gated = slices.Delete(e.gated, 0, 1)
	q.joining = false
	if q.fenced {
		return
	}
	for range joinAtOnce {
		if q.t.barrier != nil || q.gateLen() == 0 || q.gate[q.gateFrom].kind == barrier && q.t.lanes > 0 {
			break
		}
		s := &q.gate[q.gateFrom]
		q.gateFrom++
		e.joinLocked(q, s, now)
		*s = staged[T]{}
	}
	switch {
	case q.gateLen() == 0:
		q.gate, q.gateFrom = nil, 0
	case q.gateFrom > joinAtOnce && q.gateFrom > len(q.gate)/2:
		q.gate = slices.Delete(q.gate, 0, q.gateFrom)
		q.gateFrom = 0
	}
	e.gatedLocked(q)
}
