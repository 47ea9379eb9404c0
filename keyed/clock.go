package keyed

import (
	"math"
	"time"
)

// parkedLane is a lane that is parked for a time. All such lanes share one heap: a timer for each lane would cost an
// allocation a retry, and a goroutine when it fires.
type parkedLane[T any] struct {
	until int64
	lane  *lane[T]
	since uint32 // ms when it was parked
}

const (
	clockBatch = 256                     // lanes that become ready before the lock is released
	trimEvery  = int64(10 * time.Second) // interval at which unused memory is freed
)

// clock is the goroutine that watches the time: it makes parked lanes ready when they are due, closes the claims of
// stuck workers (I6), and frees unused memory. It sleeps while there is nothing to watch.
func (e *Executor[T]) clock() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var f flush[T]
	for {
		now := e.now()
		e.mu.Lock()
		e.settleLocked(&f, now)
		wait := e.clockLocked(&f, now)
		over := e.closed && e.open == 0 && len(f.own) == 0 && !f.dirty()
		if over {
			e.clockOn = false
			e.live--
			e.goneLocked()
		}
		e.unlock()
		if over {
			return
		}
		if f.dirty() {
			f.clean(e)
			continue
		}
		if len(f.own) > 0 {
			f.entries, f.own = f.own, nil
			e.finish(&f)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-e.poked:
		}
	}
}

// clockLocked does the work that is due and returns how long the clock may sleep.
func (e *Executor[T]) clockLocked(f *flush[T], now int64) time.Duration {
	for range clockBatch {
		if len(e.heap) == 0 || e.heap[0].until > now {
			break
		}
		e.unparkLocked(e.heap[0].lane, now)
	}
	for w := e.oldest; w != nil && now-w.since >= tick; w = e.oldest {
		if w.n > 1 {
			e.closeLocked(w, f)
		}
		e.unlistLocked(w)
		w.stalled = true
		e.stalled++
		e.feedLocked(tick)
	}
	e.wakeLocked()
	next := int64(math.MaxInt64)
	if len(e.heap) > 0 {
		next = e.heap[0].until
	}
	e.ticking = e.oldest != nil && (e.open > 0 || e.avg < shortTurn && (e.ready.len() > 0 || len(e.gated) > 0))
	if e.ticking {
		next = min(next, e.oldest.since+tick)
	}
	if now >= e.trimAt {
		e.trimAt = math.MaxInt64
		if e.trimLocked() {
			e.trimAt = now + trimEvery
		}
	}
	next = min(next, e.trimAt)
	e.clockAt = next
	return time.Duration(max(next-now, 0))
}

// byLocked makes the clock wake at the given time or earlier.
func (e *Executor[T]) byLocked(at int64) {
	if !e.clockOn {
		e.clockOn, e.start = true, true
		e.live++
		e.clockAt = at
		return
	}
	if at < e.clockAt {
		e.clockAt = at
		e.poke = true
	}
}

// tickLocked makes the clock watch the running claims.
func (e *Executor[T]) tickLocked() {
	if !e.ticking && e.oldest != nil {
		e.ticking = true
		e.byLocked(e.oldest.since + tick)
	}
}

// trimLocked frees memory that has not been needed since the last trim, and ends idle workers that have not. It reports
// whether there is more to free later.
func (e *Executor[T]) trimLocked() bool {
	e.quitIdleLocked(e.needless)
	e.needless = e.started - e.awake
	later := e.nodes.trim()
	later = e.lanes.trim() || later || e.needless > 0
	later = e.multis.trim() || later
	e.ready.trim()
	for _, t := range e.tables {
		for range 4096 {
			if t.buckets() <= pageSize || int(t.buckets()) <= 2*t.peak {
				break
			}
			t.shrink()
		}
		t.peak = t.lanes
		later = later || t.buckets() > pageSize && int(t.buckets()) > 2*t.lanes
	}
	return later
}

// parkLocked parks a lane until a time; with hold, until Resume or that time. If until is now, only Resume ends it.
func (e *Executor[T]) parkLocked(l *lane[T], hold bool, until, now int64) {
	e.parkBehindLocked(l, now)
	if hold {
		l.flags |= flagHeld
	}
	if until == now {
		return
	}
	l.flags |= flagTimed
	e.heap = append(e.heap, parkedLane[T]{until, l, milli(now)})
	e.upLocked(len(e.heap) - 1)
	e.byLocked(until)
}

// parkBehindLocked parks a lane without a time. Its first item's first lane, or Resume, makes it ready.
func (e *Executor[T]) parkBehindLocked(l *lane[T], now int64) {
	e.slowLocked(l)
	q := l.table.queue
	q.ready -= int(l.count)
	q.parked += int(l.count)
	l.state, l.at = Parked, milli(now)
	e.parked++
}

// unparkLocked makes a parked lane ready. If its first item has several lanes and was parked, all of them become ready.
// A lane of a queue that is being fenced stays parked: some of its item's lanes may be gone, and Fence finds the others
// in the table.
func (e *Executor[T]) unparkLocked(l *lane[T], now int64) {
	if l.table.queue.fenced {
		if l.has(flagTimed) {
			e.heapRemoveLocked(int(l.at))
			l.flags &^= flagTimed
			l.at = milli(now)
		}
		return
	}
	m := l.head().multi
	if m == nil || !m.parked {
		e.unparkOneLocked(l)
		e.readyLocked(l, milli(now))
		return
	}
	m.parked = false
	q := l.table.queue
	q.parked--
	q.ready++
	for _, x := range m.lanes {
		e.unparkOneLocked(x)
	}
	for _, x := range m.lanes {
		e.readyLocked(x, milli(now))
	}
}

func (e *Executor[T]) unparkOneLocked(l *lane[T]) {
	if l.has(flagTimed) {
		e.heapRemoveLocked(int(l.at))
	}
	l.flags &^= flagTimed | flagHeld
	q := l.table.queue
	q.parked -= int(l.count)
	q.ready += int(l.count)
	l.state = Ready
	e.parked--
}

func (e *Executor[T]) heapRemoveLocked(i int) {
	last := len(e.heap) - 1
	e.heap[i] = e.heap[last]
	e.heap[last] = parkedLane[T]{}
	e.heap = e.heap[:last]
	if i < last {
		e.heap[i].lane.at = uint32(i)
		e.upLocked(i)
		e.downLocked(int(e.heap[i].lane.at))
	}
}

func (e *Executor[T]) upLocked(i int) {
	x := e.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if e.heap[parent].until <= x.until {
			break
		}
		e.putLocked(i, e.heap[parent])
		i = parent
	}
	e.putLocked(i, x)
}

func (e *Executor[T]) downLocked(i int) {
	x := e.heap[i]
	for {
		child := 2*i + 1
		if child >= len(e.heap) {
			break
		}
		if child+1 < len(e.heap) && e.heap[child+1].until < e.heap[child].until {
			child++
		}
		if x.until <= e.heap[child].until {
			break
		}
		e.putLocked(i, e.heap[child])
		i = child
	}
	e.putLocked(i, x)
}

func (e *Executor[T]) putLocked(i int, x parkedLane[T]) {
	e.heap[i] = x
	x.lane.at = uint32(i)
}
