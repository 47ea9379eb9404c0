package keyed

import "math/bits"

// scheduler holds the ready lanes and says which is next. All calls are made with Executor.mu held and are O(1).
// A lane's class tells whether it is in (not 0); its at, since when it is ready.
type scheduler[T any] interface {
	push(l *lane[T])
	remove(l *lane[T])
	grew(l *lane[T]) // a lane that is in has got more items
	pop() *lane[T]   // nil: there is none
	len() int
}

// classes chooses by three pulls. The longest backlog goes first, since nothing but its own turns shortens it, and a hot
// key that idles while short ones run is what the end of the work then waits for. Every fourth choice is the lane that
// waits longest instead: so old messages move the frontier, and no ready lane waits for more than about four turns of
// each lane that was ready before it. The same rule caps the run of a hot lane at three turns when others are ready.
//
// O(1): a list for each power of two of backlog, a word that tells which are not empty, and in each list those that
// wait longest in front. Only neighbours in a list can be a little out of order, where a lane grew into it.
type classes[T any] struct {
	lists [33]laneList[T]
	mask  uint64 // bit i: lists[i] is not empty
	count int
	turn  uint8
}

type laneList[T any] struct{ first, last *lane[T] }

func (s *classes[T]) len() int { return s.count }

func (s *classes[T]) push(l *lane[T]) {
	s.insert(l, bits.Len32(l.waiting()))
	s.count++
}

func (s *classes[T]) grew(l *lane[T]) {
	if c := bits.Len32(l.waiting()); c != int(l.class)-1 {
		s.unlink(l)
		s.insert(l, c)
	}
}

func (s *classes[T]) remove(l *lane[T]) {
	s.unlink(l)
	s.count--
}

func (s *classes[T]) pop() *lane[T] {
	if s.mask == 0 {
		return nil
	}
	s.turn++
	l := s.lists[63-bits.LeadingZeros64(s.mask)].first
	if s.turn&3 == 0 {
		l = s.oldest()
	}
	s.remove(l)
	return l
}

func (s *classes[T]) oldest() *lane[T] {
	var oldest *lane[T]
	for m := s.mask; m != 0; m &= m - 1 {
		l := s.lists[bits.TrailingZeros64(m)].first
		if oldest == nil || before(l.at, oldest.at) {
			oldest = l
		}
	}
	return oldest
}

func (s *classes[T]) insert(l *lane[T], c int) {
	list := &s.lists[c]
	l.class = uint8(c) + 1
	s.mask |= 1 << c
	switch {
	case list.first == nil:
		l.prev, l.next = nil, nil
		list.first, list.last = l, l
	case before(l.at, list.first.at): // it grew into this class and waits longer than all in it
		l.prev, l.next = nil, list.first
		list.first.prev = l
		list.first = l
	default:
		l.prev, l.next = list.last, nil
		list.last.next = l
		list.last = l
	}
}

func (s *classes[T]) unlink(l *lane[T]) {
	c := l.class - 1
	list := &s.lists[c]
	if l.prev == nil {
		list.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		list.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	if list.first == nil {
		s.mask &^= 1 << c
	}
	l.prev, l.next, l.class = nil, nil, 0
}

// before compares milliseconds that wrap around after 49 days.
func before(a, b uint32) bool { return int32(a-b) < 0 }
