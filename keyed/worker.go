package keyed

import (
	"sync/atomic"
	"time"
)

const (
	shortTurn  = int64(20 * time.Microsecond) // a claim of several lanes should take so long
	maxClaim   = 64
	tick       = int64(time.Millisecond) // a claim older than this is stuck
	closedBit  = uint64(1) << 63
	keepBit    = uint64(1) << 62
	indexMask  = keepBit - 1
	averageOut = 8
	maxPark    = time.Duration(1) << 62 // 146 years; more would end before it began
)

// worker runs claims: one lane, or while turns are short several, taken at once under one lock.
//
// What it has claimed but not started can be taken over. word holds how many of the claim's entries it has started; it
// starts the next by adding one with a compare-and-swap. Whoever else holds Executor.mu may set closedBit the same way:
// then it starts no more, the rest goes back to be ready, and those that have returned but are not released yet are
// the closer's to finish; the worker keeps only the entry it is running. With keepBit it keeps those too (Fence must
// not call Finish from its caller's goroutine). A channel of lanes could not be emptied by others in order.
type worker[T any] struct {
	word atomic.Uint64
	_    [56]byte // others' words are written at the same time

	// Written by its goroutine under Executor.mu and read by it; by others under mu.
	number  int
	entries []entry[T]
	n       int   // entries of the claim; 0: none
	since   int64 // start of the claim

	// Under Executor.mu.
	link         *worker[T] // idle, or to be woken
	older, newer *worker[T] // in the list of running ones
	open         bool       // claim of several lanes, closed by nobody
	stalled      bool
	waking       bool
	quit         bool
	fresh        bool
	wake         chan struct{}

	// Its goroutine's alone.
	begin   int  // first entry that this goroutine ran
	at      int  // entry it runs, or runs next
	inRun   bool // Run has not returned
	done    bool // its goroutine ends as it should
	resumed bool // another goroutine goes on with the claim
	turn    Turn[T]
	items   []*T
	scratch any
	flush   flush[T]
}

// entry is a lane in a claim: what it was taken with, and what came of it.
type entry[T any] struct {
	lane   *lane[T]
	queue  *Queue[T]
	first  *node[T] // of the chain of items taken
	n      int32
	since  uint32 // the lane was ready
	done   int32  // of the result, as are the next four
	single uint16
	again  uint16 // before the turn: it was taken because of one
	park   int64
	token  *Token[T]
	hold   bool
	told   bool // Finish was called
}

func (e *Executor[T]) newWorkerLocked() *worker[T] {
	w := &worker[T]{wake: make(chan struct{}, 1), fresh: true}
	if n := len(e.numbers); n > 0 {
		w.number = e.numbers[n-1]
		e.numbers = e.numbers[:n-1]
		e.workers[w.number] = w
	} else {
		w.number = len(e.workers)
		e.workers = append(e.workers, w)
	}
	w.turn.Scratch = &w.scratch
	e.started++
	e.live++
	return w
}

// work is a worker's goroutine.
func (e *Executor[T]) work(w *worker[T]) {
	defer e.leave(w)
	for e.next(w) {
		e.run(w)
	}
	w.done = true
}

// leave sees a goroutine end. If a turn ended it (runtime.Goexit), the turn is settled and a new goroutine goes on as
// this worker. A panic goes on its way.
func (e *Executor[T]) leave(w *worker[T]) {
	if w.done {
		e.mu.Lock()
		e.live--
		e.goneLocked()
		e.unlock()
		return
	}
	if p := recover(); p != nil {
		panic(p)
	}
	if !w.inRun {
		panic("keyed: Finish or Exited ended its goroutine; they must return")
	}
	w.inRun = false
	en := &w.entries[w.at]
	en.set(e.cfg.Exited(&w.turn))
	en.token = w.turn.Await
	w.at++
	w.resumed = true
	go e.work(w)
}

// next releases the claim that w has run and gets the next one, waiting for it. false: the worker ends.
func (e *Executor[T]) next(w *worker[T]) bool {
	if w.resumed {
		w.resumed = false
		return true
	}
	now := e.now()
	e.mu.Lock()
	for {
		if w.waking {
			w.waking = false
			e.waking--
		}
		if w.quit {
			e.endLocked(w)
			e.unlock()
			return false
		}
		e.settleLocked(&w.flush, now)
		if len(e.gated) > 0 {
			e.ungateLocked(now)
		}
		ends := e.started > e.limit
		if !ends {
			e.claimLocked(w, now)
		}
		if w.n > 0 {
			e.wakeLocked()
			e.unlock()
			w.flush.clean(e)
			return true
		}
		switch {
		case w.flush.dirty():
			e.unlock()
			w.flush.clean(e)
		case !ends && (len(e.gated) > 0 || e.ready.len() > 0): // more to join; or what it took is being fenced
			e.unlock()
		case ends || e.closed:
			e.started--
			e.awake--
			w.quit = true
			e.wakeLocked()
			continue
		default:
			w.link = e.idle
			e.idle = w
			e.awake--
			e.unlock()
			w.turn.forget()
			<-w.wake
		}
		now = e.now()
		e.mu.Lock()
	}
}

func (e *Executor[T]) endLocked(w *worker[T]) {
	e.workers[w.number] = nil
	e.numbers = append(e.numbers, w.number)
}

// run runs the claim's turns, and tells which items left.
func (e *Executor[T]) run(w *worker[T]) {
	start := e.now()
	w.begin = w.at
	for w.at < w.n && w.word.CompareAndSwap(uint64(w.at), uint64(w.at+1)) {
		en := &w.entries[w.at]
		w.items = w.items[:0]
		for n, p := en.n, en.first; n > 0; n, p = n-1, p.next {
			w.items = append(w.items, &p.item)
		}
		w.turn.Queue, w.turn.Items, w.turn.Await, w.turn.entry = en.queue, w.items, nil, en
		w.inRun = true
		r := e.cfg.Run(&w.turn)
		w.inRun = false
		en.set(r)
		en.token = w.turn.Await
		w.at++
	}
	f := &w.flush
	f.spent, f.turns = e.now()-start, w.at-w.begin
	word := w.word.Swap(closedBit)
	i := int(word & indexMask)
	switch {
	case word&closedBit == 0 || word&keepBit != 0:
		f.entries = w.entries[:i]
	case i > 0:
		f.entries = w.entries[i-1 : i]
	default:
		f.entries = nil
	}
	f.worker = w
	e.finish(f)
}

func (en *entry[T]) set(r Result) {
	en.done = int32(min(max(r.Done, 0), int(en.n)))
	if r.Hold || r.Park|time.Duration(r.Next) != 0 || en.again != 0 { // few are so
		en.setRest(r)
	}
}

func (en *entry[T]) setRest(r Result) {
	en.single, en.again = uint16(max(r.Next, 0)), uint16(max(-r.Next, 0))
	en.hold = r.Hold
	en.park = int64(min(max(r.Park, 0), maxPark))
}
