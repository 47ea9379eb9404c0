package keyed

import (
	"context"
	"fmt"
	"math/bits"
)

// Queue is one epoch of one queue id: what Open returned. Items of a lane that are submitted to it run in that order.
//
// Its Batch and Submit belong to one goroutine; all else is safe for concurrent use.
type Queue[T any] struct {
	e     *Executor[T]
	t     *table[T]
	data  any
	batch Batch[T] // of the submitting goroutine

	drop    func(*T)      // set before fenced is, constant then
	cleared chan struct{} // closed when Fence has dropped all

	// Guarded by Executor.mu.
	fenced    bool
	emptied   bool // Fence is through: another epoch may open
	submitted int64
	finished  int64
	dropped   int64
	ready     int // items; as are the next two
	running   int
	parked    int
	waiting   int
	turns     int           // claimed, running, or waiting for Complete
	still     chan struct{} // closed when turns is 0; nil: nobody waits
	over      int           // lanes longer than their share
	room      chan struct{} // closed when over is 0; nil: nobody waits

	gate     []staged[T]
	gateFrom int
	joining  bool // in Executor.gated
}

// joinAtOnce is how many items join their lanes in one stretch under the lock.
const joinAtOnce = 256

// ID is what the queue was opened as.
func (q *Queue[T]) ID() ID { return q.t.id }

// Data is what was given to Open.
func (q *Queue[T]) Data() any { return q.data }

// Batch is the queue's batch, to be filled and submitted, again and again. For the submitting goroutine alone.
func (q *Queue[T]) Batch() *Batch[T] { return &q.batch }

// Submit hands the batch over, in its order, and empties it. It does not wait for room: see AwaitShare.
//
// nil means that each item of it will leave by Finish or, after a fence, be dropped: if the queue is fenced meanwhile,
// what has not joined its lane is dropped by this call, from this goroutine. An error that is ErrFenced means that
// nothing was submitted and nobody is told of the batch's items. For the submitting goroutine alone.
func (q *Queue[T]) Submit(b *Batch[T]) error {
	if b == nil || b.q != q {
		return fmt.Errorf("keyed: submit to %s/%d: the batch belongs to another queue", q.t.id.Name, q.t.id.Number)
	}
	e := q.e
	now := e.now()
	e.mu.Lock()
	if q.fenced {
		e.unlock()
		b.reset(0)
		return fmt.Errorf("keyed: submit to %s/%d: %w", q.t.id.Name, q.t.id.Number, ErrFenced)
	}
	q.submitted += int64(len(b.staged))
	q.ready += len(b.staged)
	i := 0
	for {
		for end := min(i+joinAtOnce, len(b.staged)); i < end; i++ {
			e.acceptLocked(q, &b.staged[i], now)
		}
		b.refillLocked()
		e.wakeLocked()
		if i == len(b.staged) {
			e.unlock()
			b.reset(i)
			return nil
		}
		e.unlock()
		e.mu.Lock()
		if q.fenced {
			break
		}
	}
	q.dropped += int64(len(b.staged) - i)
	q.ready -= len(b.staged) - i
	e.unlock()
	for _, s := range b.staged[i:] {
		if q.drop != nil {
			q.drop(&s.node.item)
		}
	}
	b.reset(i)
	return nil
}

// Trim gives back the memory that batches have needed: for a queue that gets nothing for long. The batch must be empty. For
// the submitting goroutine alone.
func (q *Queue[T]) Trim() {
	b := &q.batch
	q.e.mu.Lock()
	q.e.freeLocked(b.free[b.used:])
	q.e.unlock()
	b.staged, b.more, b.free, b.used = nil, nil, nil, 0
}

// acceptLocked lets an item join its lanes, or wait behind a barrier. q.ready counts it already.
func (e *Executor[T]) acceptLocked(q *Queue[T], s *staged[T], now int64) {
	if q.t.barrier == nil && q.gateLen() == 0 && (s.kind != barrier || q.t.lanes == 0) {
		e.joinLocked(q, s, now)
		return
	}
	q.shut(s)
	e.gatedLocked(q)
}

func (e *Executor[T]) joinLocked(q *Queue[T], s *staged[T], now int64) {
	if s.more != nil {
		e.joinMultiLocked(q, s, now)
		return
	}
	var l *lane[T]
	flags := uint8(0)
	switch s.kind {
	case ordered:
	case unordered:
		s.hash, flags = e.serialHash(), flagUnordered
	case barrier:
		s.hash, flags = e.serialHash(), flagUnordered|flagBarrier
	}
	bucket := q.t.bucket(s.hash)
	if flags == 0 {
		l = findIn(*bucket, s.hash, s.key)
	}
	if l == nil {
		l = e.newLaneLocked(q.t, bucket, s.hash, s.key, flags)
		if s.kind == barrier {
			q.t.barrier = l
		}
		l.push(s.node)
		l.count = 1 // no share is less, and no slow lane so short
		e.readyLocked(l, milli(now))
		return
	}
	if !l.has(flagSlow) {
		l.key = s.key
	}
	l.push(s.node)
	if l.count++; l.count == slowLength {
		e.slowLocked(l)
	}
	if e.cfg.Share > 0 {
		e.shareLocked(q, l)
	}
	switch l.state {
	case Ready:
		if l.class != 0 {
			e.ready.grew(l)
		}
	case Parked:
		q.ready--
		q.parked++
	case Running, Waiting:
	}
}

// newLaneLocked makes a lane, in the bucket of its hash.
func (e *Executor[T]) newLaneLocked(t *table[T], bucket **lane[T], hash uint32, key string, flags uint8) *lane[T] {
	l := e.lanes.take()
	if l == nil {
		chunk := make([]lane[T], lanesAtOnce)
		for i := 1; i < len(chunk); i++ {
			e.lanes.give(&chunk[i])
		}
		l = &chunk[0]
	}
	l.key, l.hash, l.flags = key, hash, flags
	t.add(l, bucket)
	return l
}

// lanesAtOnce are allocated together: enough that the allocation begins with a page, and each lane with a cache line.
const lanesAtOnce = 1024

// serialHash spreads lanes without a key over the table.
func (e *Executor[T]) serialHash() uint32 {
	e.serial++
	return bits.Reverse32(e.serial * 0x9E3779B1)
}

// AwaitShare blocks while any lane of the queue is longer than Config.Share. It returns an error that is ErrFenced when
// the queue is fenced, and the cause of ctx when that ended first.
func (q *Queue[T]) AwaitShare(ctx context.Context) error {
	e := q.e
	for {
		e.mu.Lock()
		if q.fenced {
			e.unlock()
			return fmt.Errorf("keyed: await share of %s/%d: %w", q.t.id.Name, q.t.id.Number, ErrFenced)
		}
		if q.over == 0 {
			e.unlock()
			return nil
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		e.unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Wait blocks until no turn of this epoch is with a worker or waits for Complete and, after Fence, all its late items
// are dropped. It returns the cause of ctx when that ended first. Without a fence before it, turns may start again at once.
func (q *Queue[T]) Wait(ctx context.Context) error {
	e := q.e
	e.mu.Lock()
	if q.turns == 0 {
		e.unlock()
		return nil
	}
	if q.still == nil {
		q.still = make(chan struct{})
	}
	still := q.still
	e.unlock()
	select {
	case <-still:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume makes a parked lane ready, and with it the other lanes of its first item. It tells whether the lane was parked,
// whatever for. Does not block.
func (q *Queue[T]) Resume(lane string) bool {
	e := q.e
	now := e.now()
	e.mu.Lock()
	defer e.unlock()
	if q.fenced {
		return false
	}
	l := q.t.find(e.hashOf(lane), lane)
	if l == nil || l.state != Parked {
		return false
	}
	e.unparkLocked(l, now)
	e.wakeLocked()
	return true
}

// ResumeHeld makes ready all lanes of the queue that are held, also those without a name to resume them by (unordered
// items and barriers), and tells how many there were.
func (q *Queue[T]) ResumeHeld() int {
	e := q.e
	n := 0
	now := e.now()
	q.pieces(func(l *lane[T]) {
		if !q.fenced && l.state == Parked && l.has(flagHeld) {
			e.unparkLocked(l, now)
			e.wakeLocked()
			n++
		}
	}, func() bool { return true })
	return n
}

// Counts says where the items of a queue are.
type Counts struct {
	Submitted int64 // = Finished + Running + Waiting + Ready + Parked + Dropped
	Finished  int64 // left by Result.Done
	Running   int64 // in a turn, or taken by a worker for one
	Waiting   int64 // for Complete
	Ready     int64 // wait: for a worker, behind a running item of their lane, behind a barrier
	Parked    int64 // in lanes that are parked
	Dropped   int64 // by Fence
	OverShare int   // lanes that are longer than Config.Share
}

// Counts tells where the items are, all at one moment. An item of several lanes counts once, as parked when it is itself
// what is parked.
func (q *Queue[T]) Counts() Counts {
	q.e.mu.Lock()
	defer q.e.unlock()
	return Counts{
		Submitted: q.submitted,
		Finished:  q.finished,
		Running:   int64(q.running),
		Waiting:   int64(q.waiting),
		Ready:     int64(q.ready),
		Parked:    int64(q.parked),
		Dropped:   q.dropped,
		OverShare: q.over,
	}
}
