package keyed

import (
	"math/bits"
	"slices"
)

// scheduler holds the ready lanes and chooses the next one. All methods are called with Executor.mu held and are O(1).
// A lane in the scheduler has a class other than 0, and its at belongs to the scheduler.
type scheduler[T any] interface {
	push(l *lane[T], since uint32) // since: ms when it became ready; compare with before
	remove(l *lane[T])
	grew(l *lane[T])                 // a lane in the scheduler has got more items
	pop() (l *lane[T], since uint32) // nil if there is none
	since(l *lane[T]) uint32
	len() int
	trim() // frees memory that the lanes in it do not need
}

// classes is the executor's scheduler. It chooses by two rules:
//
//   - The lane with the longest backlog runs first. Only its own turns shorten a backlog, so a hot key that idles now
//     ends last.
//   - Every fourth choice is the lane that has waited longest. So old messages advance the frontier, and a ready lane
//     waits for at most about four turns of each lane that was ready before it. A hot lane runs at most three turns
//     in a row while others are ready.
//
// If the backlog of a waiting lane doubles, its wait starts again, behind all lanes that are ready then.
//
// Measured in virtual time: 12,000 messages whose keys follow Zipf(1), 24 workers, 10 ms each. Each cell gives the
// total time, relative to the bound max(work / workers, the hottest key's chain), and the longest wait of a ready lane.
// Oldest head and longest first keep the bound, but lanes wait longest with few keys, and neither is O(1). Reproduce
// with go test -run TestScheduleKeepsCloseToTheZipfBound -v ./keyed:
//
//	in flight  keys    classes       round robin   oldest head   longest first
//	1,000      100     1.001 160 ms  1.010  40 ms  1.000 280 ms  1.000 650 ms
//	1,000      10,000  1.016 590 ms  1.105 220 ms  1.000 380 ms  1.000 600 ms
//	12,000     100     1.005 130 ms  1.060  40 ms  1.000 1.01 s  1.000 2.47 s
//	12,000     10,000  1.012 3.61 s  1.249 1.33 s  1.000 4.61 s  1.000 4.11 s
//
// In the last row all 12,000 messages are ready at once. They are 5 s of work for all workers, so the last ones wait
// long with any scheduler.
//
// Implementation: there is a list for each power of two of backlog, in order of waiting time, and a word that says
// which lists are not empty. A lane that grows into a list goes to its end or, if it has waited longer than all in it,
// to its front. Its exact place cannot be found in O(1), and only the first of each list is examined for the oldest
// lane.
type classes[T any] struct {
	lists [33]laneList[T]
	mask  uint64 // bit i: lists[i] is not empty
	count int
	turn  uint8
	spare []*page[T]
}

func (s *classes[T]) len() int { return s.count }

func (s *classes[T]) since(l *lane[T]) uint32 {
	p, i := s.lists[l.class-1].at(l.at)
	return p.since[i]
}

func (s *classes[T]) push(l *lane[T], since uint32) {
	s.insert(l, bits.Len32(l.waiting()), since)
	s.count++
}

func (s *classes[T]) grew(l *lane[T]) {
	if c := bits.Len32(l.waiting()); c != int(l.class)-1 {
		since := s.since(l)
		s.unlink(l)
		s.insert(l, c, since)
	}
}

func (s *classes[T]) remove(l *lane[T]) {
	s.unlink(l)
	s.count--
}

func (s *classes[T]) pop() (*lane[T], uint32) {
	if s.mask == 0 {
		return nil, 0
	}
	s.turn++
	c := 63 - bits.LeadingZeros64(s.mask)
	if s.turn&3 == 0 && s.mask&(s.mask-1) != 0 {
		c = s.oldest()
	}
	list := &s.lists[c]
	first := list.first(s)
	if list.popFirst(s); list.count == 0 {
		s.mask &^= 1 << c
	}
	s.count--
	first.lane.class = 0 // a write does not wait for the cache miss
	return first.lane, first.since
}

// oldest returns the list whose first lane has waited longest.
func (s *classes[T]) oldest() int {
	m := s.mask
	oldest := bits.TrailingZeros64(m)
	since := s.lists[oldest].first(s).since
	for m &= m - 1; m != 0; m &= m - 1 {
		c := bits.TrailingZeros64(m)
		if x := s.lists[c].first(s); before(x.since, since) {
			oldest, since = c, x.since
		}
	}
	return oldest
}

func (s *classes[T]) insert(l *lane[T], c int, since uint32) {
	list := &s.lists[c]
	l.class = uint8(c) + 1
	s.mask |= 1 << c
	// A lane that grew into this class may have waited longer than all in it.
	if list.count > 0 && before(since, list.newest) && before(since, list.first(s).since) {
		l.at = list.pushFront(s, slot[T]{l, since})
		return
	}
	if list.count == 0 || before(list.newest, since) {
		list.newest = since
	}
	l.at = list.pushBack(s, slot[T]{l, since})
}

func (s *classes[T]) unlink(l *lane[T]) {
	c := l.class - 1
	s.lists[c].remove(s, l.at)
	if s.lists[c].count == 0 {
		s.mask &^= 1 << c
	}
	l.class = 0
}

// laneList is a FIFO in pages, with holes where lanes left from the middle. A linked list through the lanes would take
// one cache miss after the other with the lock held.
type laneList[T any] struct {
	pages      []*page[T]
	base       uint32 // place of the first page's first slot; places wrap around
	head, tail uint32 // place of the first lane, and place after the last one
	count      int    // lanes, holes not counted
	newest     uint32 // latest since of any lane in it
}

type slot[T any] struct {
	lane  *lane[T] // nil for a hole
	since uint32
}

// page stores lanes and times in two arrays, which need no padding.
type page[T any] struct {
	lanes [256]*lane[T]
	since [256]uint32
}

func (q *laneList[T]) at(place uint32) (*page[T], uint32) {
	i := place - q.base
	return q.pages[i>>8], i & 255
}

func (q *laneList[T]) set(place uint32, x slot[T]) {
	p, i := q.at(place)
	p.lanes[i], p.since[i] = x.lane, x.since
}

// first returns the first lane. The list must not be empty.
func (q *laneList[T]) first(s *classes[T]) slot[T] {
	for {
		if p, i := q.at(q.head); p.lanes[i] != nil {
			return slot[T]{p.lanes[i], p.since[i]}
		}
		q.advance(s)
	}
}

// advance moves head to the next place.
func (q *laneList[T]) advance(s *classes[T]) {
	if q.head++; q.head-q.base == 256 {
		s.spare = append(s.spare, q.pages[0])
		q.pages = slices.Delete(q.pages, 0, 1)
		q.base += 256
	}
}

// popFirst removes the lane that first has returned.
func (q *laneList[T]) popFirst(s *classes[T]) {
	q.pages[0].lanes[q.head-q.base] = nil
	if q.count--; q.count == 0 {
		q.empty(s)
		return
	}
	q.advance(s)
}

func (q *laneList[T]) pushBack(s *classes[T], x slot[T]) uint32 {
	if int(q.tail-q.base) == len(q.pages)*256 {
		q.pages = append(q.pages, s.page())
	}
	place := q.tail
	q.set(place, x)
	q.tail++
	q.count++
	return place
}

func (q *laneList[T]) pushFront(s *classes[T], x slot[T]) uint32 {
	if q.head == q.base {
		q.pages = slices.Insert(q.pages, 0, s.page())
		q.base -= 256
	}
	q.head--
	q.set(q.head, x)
	q.count++
	return q.head
}

func (q *laneList[T]) remove(s *classes[T], place uint32) {
	p, i := q.at(place)
	p.lanes[i] = nil
	if q.count--; q.count == 0 {
		q.empty(s)
	}
}

// empty starts a list without lanes again on one page.
func (q *laneList[T]) empty(s *classes[T]) {
	if len(q.pages) > 1 {
		s.spare = append(s.spare, q.pages[1:]...)
		clear(q.pages[1:])
		q.pages = q.pages[:1]
	}
	q.head, q.tail = q.base, q.base
}

// page returns an empty page, if possible one of the few kept for reuse.
func (s *classes[T]) page() *page[T] {
	n := len(s.spare)
	if n == 0 {
		return new(page[T])
	}
	p := s.spare[n-1]
	s.spare[n-1] = nil
	s.spare = s.spare[:n-1]
	s.trim()
	return p
}

// trim frees pages if there are far more than the ready lanes need.
func (s *classes[T]) trim() {
	if n := len(s.spare); n > 64 && n > s.count/64 {
		s.spare = slices.Clone(s.spare[:32])
	}
}

// before reports whether a is earlier than b, in ms that wrap around after 49 days.
func before(a, b uint32) bool { return int32(a-b) < 0 }
