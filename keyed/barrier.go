package keyed

import "slices"

// While a barrier waits or runs, what is submitted after it waits in the queue's gate, a FIFO with the barrier itself in
// front until its id has no lane left. Then it gets the only one; when that has gone, the gate is joined to its lanes, in
// pieces, by whichever worker is next.

func (q *Queue[T]) gateLen() int { return len(q.gate) - q.gateFrom }

// shut puts an item at the end of the gate.
func (q *Queue[T]) shut(s *staged[T]) {
	x := *s
	x.more = slices.Clone(x.more) // it was the batch's
	q.gate = append(q.gate, x)
}

// gatedLocked notes that the first of the gate can join, if it can.
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

// ungateLocked lets the next of one queue's gate join.
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
