package keyed

// multi links the lanes of an item of several keys. The item joins all of them under one lock, in submit order. Of two
// such items the earlier one is therefore first in every lane they share, so they cannot deadlock.
type multi[T any] struct {
	node   *node[T]   // links[0], which carries the item; nil once Fence has dropped it
	keys   []string   // names of the lanes
	lanes  []*lane[T] // lanes[0] represents all of them in the scheduler and in the heap
	links  []*node[T] // the item's node in each lane
	heads  int        // ready lanes whose first item this is
	parked bool
	left   int // nodes that Fence has not removed yet
}

// joinMultiLocked appends an item to all its lanes. q.ready includes it already.
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

// multiBackLocked puts the item back at the front of all its lanes.
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
