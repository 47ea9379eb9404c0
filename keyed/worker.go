package keyed

import (
	"sync/atomic"
	"time"
)

const (
	shortTurn  = int64(20 * time.Microsecond) // target duration of a claim of several lanes
	maxClaim   = 64
	tick       = int64(time.Millisecond) // a claim older than this is stuck
	closedBit  = uint64(1) << 63
	keepBit    = uint64(1) << 62
	indexMask  = keepBit - 1
	averageOut = 8
	maxPark    = time.Duration(1) << 62 // 146 years; a longer time would overflow
)

// worker runs claims. A claim is one lane or, while turns are short, several lanes taken under one lock.
//
// Others can take over the lanes that the worker has claimed but not started. word holds the number of entries that it
// has started; the worker starts the next by adding one with a compare-and-swap. A goroutine that holds Executor.mu may
// close the claim by setting closedBit the same way:
//
//   - The worker starts no more entries, and the entries not started become ready again.
//   - The closer finishes the entries that have returned but are not released; the worker keeps only the running one.
//   - With keepBit the worker keeps the returned entries too, because Fence must not call Finish on its caller's
//     goroutine.
//
// A channel of lanes would not do: others could not take lanes back in order.
type worker[T any] struct {
	word atomic.Uint64
	_    [56]byte // padding against false sharing with other workers' words

	// Written by the worker's goroutine under Executor.mu and read by it without; others read them under mu.
	number  int
	entries []entry[T]
	n       int   // entries of the claim; 0 if there is none
	since   int64 // when the claim began

	// Guarded by Executor.mu.
	link         *worker[T] // next in the list of idle workers, or of workers to wake
	older, newer *worker[T] // neighbours in the list of running workers
	open         bool       // has a claim of several lanes that is not closed
	stalled      bool
	waking       bool
	quit         bool
	fresh        bool
	wake         chan struct{}

	// For the worker's goroutine alone.
	begin   int  // index of the first entry that this goroutine ran
	at      int  // index of the entry that runs or is next
	inRun   bool // Run has not returned
	done    bool // the goroutine ends normally, not by Goexit
	resumed bool // a new goroutine continues the claim
	turn    Turn[T]
	items   []*T
	scratch any
	flush   flush[T]
}

// entry is a lane in a claim: the items taken from it, and the result of their turn.
type entry[T any] struct {
	lane   *lane[T]
	queue  *Queue[T]
	first  *node[T] // first of the chain of taken items
	n      int32
	since  uint32 // ms when the lane became ready
	done   int32  // from the Result, as are single, again, park and hold
	single uint16
	again  uint16 // before the turn: not 0 if the lane had flagAgain
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

// work is the goroutine of a worker.
func (e *Executor[T]) work(w *worker[T]) {
	defer e.leave(w)
	for e.next(w) {
		e.run(w)
	}
	w.done = true
}

// leave runs when a worker's goroutine ends. If Run ended it by runtime.Goexit, leave records the turn's result and
// starts a new goroutine for the same worker. It lets a panic continue.
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
		panic("keyed: Finish or Exited called runtime.Goexit; they must return")
	}
	w.inRun = false
	en := &w.entries[w.at]
	en.set(e.cfg.Exited(&w.turn))
	en.token = w.turn.Await
	w.at++
	w.resumed = true
	go e.work(w)
}

// next releases the claim that w has run and waits for the next one. It returns false if the worker must end.
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
		case !ends && (len(e.gated) > 0 || e.ready.len() > 0): // more items to join their lanes, or the claimed lanes were being fenced
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
			clear(w.items[:cap(w.items)])
			w.turn.forget()
			if e.cfg.Idle != nil && w.scratch != nil {
				e.cfg.Idle(w.scratch)
			}
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

// run runs the turns of the claim and calls Finish for the items that left.
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
	if r.Hold || r.Park|time.Duration(r.Next) != 0 || en.again != 0 { // rare
		en.setRest(r)
	}
}

func (en *entry[T]) setRest(r Result) {
	en.single, en.again = uint16(max(r.Next, 0)), uint16(max(-r.Next, 0))
	en.hold = r.Hold
	en.park = int64(min(max(r.Park, 0), maxPark))
}
