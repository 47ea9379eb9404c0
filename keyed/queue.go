package keyed

import (
	"context"
	"fmt"
	"math/bits"
)

// Queue is one epoch of one queue id, returned by Open. Items of a lane run in the order in which they were submitted.
//
// Batch, Submit and Trim belong to one goroutine. All other methods are safe for concurrent use.
type Queue[T any] struct {
	e     *Executor[T]
	t     *table[T]
	data  any
	batch Batch[T] // for the submitting goroutine alone

	drop func(*T) // set before fenced, then constant

	// Guarded by Executor.mu.
	fenced    bool
	cleared   chan struct{} // closed when Fence has dropped all waiting items; nil before Fence
	emptied   bool          // Fence has ended: another epoch may open
	submitted int64
	finished  int64
	dropped   int64
	ready     int // items, as in the next three fields
	running   int
	parked    int
	waiting   int
	turns     int             // turns claimed, running or waiting for Complete
	still     chan struct{}   // closed when turns becomes 0; nil if no call waits for that
	over      int             // lanes with more than Config.Share items
	depth     uint32          // of SetDeep
	deep      map[string]bool // lanes for Batch.Deep; nil if there are none
	room      chan struct{}   // closed when over becomes 0; nil if no call waits for that

	gate     []staged[T]
	gateFrom int
	joining  bool // the queue is in Executor.gated
}

// joinAtOnce is the maximum number of items that join their lanes, or are dropped, before the lock is released.
const joinAtOnce = 256

// ID returns the id that the queue was opened with.
func (q *Queue[T]) ID() ID { return q.t.id }

// Data returns the data that was passed to Open.
func (q *Queue[T]) Data() any { return q.data }

// Batch returns the queue's only batch. Fill it, submit it, and fill it again. Only the submitting goroutine may use
// it.
func (q *Queue[T]) Batch() *Batch[T] { return &q.batch }

// Submit submits the items of the batch in their order and empties it. Only the submitting goroutine may call it. It
// does not wait for room: see AwaitShare.
//
// After nil, each item ends by one call of Finish or of the fence's drop function. If the queue is fenced during
// Submit, this goroutine calls drop for the items that have not joined their lanes. An error that is ErrFenced means
// that nothing was submitted; neither function is called for the batch's items.
func (q *Queue[T]) Submit(b *Batch[T]) error {
	if b == nil || b.q != q {
		return fmt.Errorf("keyed: submit to %s/%d: the batch belongs to another queue; use Queue.Batch", q.t.id.Name, q.t.id.Number)
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
			b.deep = q.takeDeepLocked(b.deep)
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

// Trim frees the memory that batches have needed and, if the queue has no lane, that of its table of lanes. Call it, with
// an empty batch, when the queue is expected to stay idle. Only the submitting goroutine may call it.
func (q *Queue[T]) Trim() {
	b := &q.batch
	q.e.mu.Lock()
	q.e.freeLocked(b.free[b.used:])
	if q.t.lanes == 0 {
		q.t.reset()
	}
	q.e.unlock()
	b.staged, b.more, b.free, b.used = nil, nil, nil, 0
}

// acceptLocked puts an item into its lanes or, behind a barrier, into the gate. q.ready includes it already.
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
		l.count = 1 // one item is never over the share and never makes a lane slow
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
	if l.waiting() > q.depth {
		q.deepLocked(l)
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

// newLaneLocked adds a lane to the bucket of its hash.
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

// lanesAtOnce is how many lanes are allocated together: enough that the allocation is page-aligned, and so each lane is
// aligned to a cache line.
const lanesAtOnce = 1024

// serialHash returns the hash of the next lane without a key. It spreads such lanes over the table.
func (e *Executor[T]) serialHash() uint32 {
	e.serial++
	return bits.Reverse32(e.serial * 0x9E3779B1)
}

// AwaitShare blocks while any lane of the queue has more than Config.Share items. It returns an error that is ErrFenced
// if the queue is fenced, or the cause of ctx if ctx ends first.
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

// Wait blocks until no turn of this epoch runs or waits for Complete. After Fence it also waits until the items of the
// last turns are dropped. Without a fence, new turns may start at once. Wait returns the cause of ctx if ctx ends
// first.
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

// Resume makes a parked lane ready, whether it waits for a time or is held. If its first item has other lanes, they
// become ready too. Resume reports whether the lane was parked. It does not block.
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

// ResumeHeld makes all held lanes of the queue ready and returns their number. It includes lanes without a name
// (unordered items and barriers), which Resume cannot reach.
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

// Counts is the number of a queue's items in each state.
type Counts struct {
	Submitted int64 // = Finished + Running + Waiting + Ready + Parked + Dropped
	Finished  int64 // items that left by Result.Done
	Running   int64 // items in a turn, or claimed by a worker
	Waiting   int64 // items waiting for Complete
	Ready     int64 // items waiting for a worker, for a running item of their lane, or for a barrier
	Parked    int64 // items in parked lanes
	Dropped   int64 // items dropped by Fence
	OverShare int   // lanes with more than Config.Share items
}

// Counts returns the numbers of one moment. An item of several lanes counts once. It counts as parked only if it was
// parked itself.
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
