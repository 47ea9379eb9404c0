package keyed

// Put adds one item at the end of a lane, behind all items submitted to it before. It is safe to call from any goroutine, also
// from a turn, and does not block. It reports whether it has added the item.
//
// It refuses if the queue is fenced. With plain it also refuses while an item of several lanes waits in the lane, or a barrier
// waits or runs in the queue: the item would run after it. After true, the item ends as one of a Submit does.
//
// The executor keeps the bytes of the name, as [Batch.Add] does. Put is for rare items: it takes the executor's lock.
func (q *Queue[T]) Put(lane string, item T, plain bool) bool {
	e := q.e
	now, hash := e.now(), e.hashOf(lane)
	e.mu.Lock()
	defer e.unlock()
	if q.fenced || plain && !q.plainLocked(hash, lane) {
		return false
	}
	n := e.nodes.take()
	if n == nil {
		n = &node[T]{}
	}
	n.item = item
	q.submitted++
	q.ready++
	e.acceptLocked(q, &staged[T]{node: n, key: lane, hash: hash}, now)
	e.wakeLocked()
	return true
}

// plainLocked reports whether neither an item of several lanes waits in the lane nor a barrier in the queue.
func (q *Queue[T]) plainLocked(hash uint32, lane string) bool {
	if q.t.barrier != nil || q.gateLen() > 0 {
		return false
	}
	l := q.t.find(hash, lane)
	return l == nil || l.links == 0
}
