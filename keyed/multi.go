package keyed

// multi joins the lanes of an item of several keys. It joined them all under one lock, in submit order, so of two such
// items the earlier one is first in every lane they share, and neither can wait for the other in a circle.
type multi[T any] struct {
	node   *node[T]   // carries the item; links[0]; nil once Fence has dropped it
	keys   []string   // the names of the lanes
	lanes  []*lane[T] // the first stands for all in the scheduler and in the heap
	links  []*node[T] // its node in each of the lanes
	heads  int        // lanes that are ready and that it heads
	parked bool
	left   int // nodes that Fence has not seen
}

// joinMultiLocked puts an item in all its lanes. q.ready counts it already.
func (e *Executor[T]) joinMultiLocked(q *Queue[T], s *staged[T], now int64) {
	m := e.multis.take()
	if m == nil {
		m = &multi[T]{}
	}
	m.node = s.node
	for i := range s.more {
		n := s.node
		if i > 0 {
			if n = e.nodes.take(); n == nil {
				n = &node[T]{}
			}
		}
		n.multi = m
		m.links = append(m.links, n)
		m.keys = append(m.keys, s.more[i].key)
		m.lanes = append(m.lanes, nil)
	}
	m.left = len(m.links)
	for i, k := range s.more {
		l := q.t.find(k.hash, k.key)
		fresh := l == nil
		if fresh {
			l = e.newLaneLocked(q.t, q.t.bucket(k.hash), k.hash, k.key, 0)
		}
		if !l.has(flagSlow) {
			l.key = k.key
		}
		m.lanes[i] = l
		l.push(m.links[i])
		if l.links++; l.links == slowLength {
			e.slowLocked(l)
		}
		if fresh {
			continue
		}
		e.shareLocked(q, l)
		if l.class != 0 {
			e.ready.grew(l)
		}
	}
	for _, l := range m.lanes {
		if l.state == 0 {
			e.readyLocked(l, milli(now))
		}
	}
}

// multiBackLocked puts the item in front of all its lanes again.
func (e *Executor[T]) multiBackLocked(m *multi[T]) {
	for i, l := range m.lanes {
		l.taken = 0
		l.pushFront(m.links[i], m.links[i])
		l.links++
	}
}

// releaseMultiLocked is releaseLocked for an item of several lanes.
func (e *Executor[T]) releaseMultiLocked(en *entry[T], f *flush[T], now int64) {
	m, q := en.first.multi, en.queue
	if en.done == 0 && !q.fenced {
		e.multiBackLocked(m)
		if en.hold || en.park > 0 {
			q.ready--
			q.parked++
			m.parked = true
		}
		for i, l := range m.lanes {
			switch {
			case !m.parked:
				e.readyLocked(l, milli(now))
			case i == 0:
				e.parkLocked(l, en.hold, now+en.park, now)
			case en.hold:
				e.parkLocked(l, true, now, now)
			default:
				e.parkBehindLocked(l, now)
			}
		}
		return
	}
	if en.done > 0 {
		f.dead = append(f.dead, m.node)
	} else {
		f.late = append(f.late, lateItem[T]{q, m.node})
	}
	for i, l := range m.lanes {
		if i > 0 {
			e.freeLinkLocked(m.links[i])
		}
		l.taken = 0
		if !q.fenced {
			l.single -= min(l.single, uint16(en.done))
		}
		e.onwardLocked(l, en, now)
	}
	e.freeMultiLocked(m)
}

func (e *Executor[T]) freeLinkLocked(n *node[T]) {
	n.next, n.multi = nil, nil
	e.nodes.give(n)
}

func (e *Executor[T]) freeMultiLocked(m *multi[T]) {
	if m.node != nil {
		m.node.multi = nil
	}
	clear(m.keys)
	clear(m.lanes)
	clear(m.links)
	*m = multi[T]{keys: m.keys[:0], lanes: m.lanes[:0], links: m.links[:0]}
	e.multis.give(m)
}
