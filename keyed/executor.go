package keyed

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrFenced says that the queue was fenced: no turn of it starts any more, and it takes no items.
var ErrFenced = errors.New("keyed: queue is fenced")

// Executor runs the items of many queues on a bounded number of workers: in order within a lane, concurrently across
// lanes. Workers are goroutines that start when load needs them; besides them it owns one clock goroutine, started when
// the first lane parks or the first claim must be watched. Close ends them all.
//
// An Executor is safe for concurrent use.
type Executor[T any] struct {
	cfg   Config[T]
	seed  maphash.Seed
	hash  func(string) uint32 // a test's own; nil: maphash
	base  time.Time
	slow  slowLanes
	procs int
	chunk int           // nodes allocated at once
	poked chan struct{} // to the clock; one slot

	// mu guards all below, and all lanes, tables and queues. Held for at most some hundred steps; never over a callback,
	// a channel operation or a start of a goroutine: what is to be woken or closed is noted, and unlock does it.
	mu      sync.Mutex
	ready   scheduler[T]
	tables  map[ID]*table[T]
	nodes   pool[node[T]]
	lanes   pool[lane[T]]
	multis  pool[multi[T]]
	flushes pool[flush[T]]
	waits   []*Token[T]   // of the lanes that wait for Complete, in any order
	serial  uint32        // of unordered lanes
	gated   []*Queue[T]   // with gated items that can join now
	demand  chan struct{} // closed when few lanes are ready; nil: nobody waits

	limit    int          // of workers
	workers  []*worker[T] // by number; nil where one has ended
	numbers  []int        // free ones
	idle     *worker[T]   // latest sleeper first
	started  int          // workers that are to go on
	awake    int          // of these, not idle
	waking   int          // of these, on their way from idle or just started
	running  int          // have a claim
	oldest   *worker[T]   // running and not stalled, by the start of their claims
	newest   *worker[T]
	stalled  int   // have a claim that is older than a tick
	open     int   // claims of more than one lane that nobody has closed
	avg      int64 // ns a turn takes, moving average
	turns    int64
	overtook int64

	heap    []parkedLane[T]
	parked  int
	clockOn bool
	clockAt int64 // when the clock looks next
	ticking bool  // that is within a tick
	trimAt  int64

	closed bool
	live   int // goroutines
	gone   chan struct{}
	over   bool // gone is closed, or noted to be

	wakes *worker[T]
	notes []chan struct{}
	poke  bool
	start bool // the clock
}

// Stats is what an executor is doing, at one moment.
type Stats struct {
	Workers     int   // the limit
	Started     int   // worker goroutines
	Running     int   // workers that have a claim
	Idle        int   // workers that wait for work
	ReadyLanes  int   // lanes that wait for a worker
	ParkedLanes int   // lanes parked for a time or until Resume
	Waits       int   // tokens that wait for Complete
	Turns       int64 // turns that have returned since New
	Overtaken   int64 // lanes that were taken over from a worker stuck in an earlier turn of the same claim
	AverageTurn time.Duration
}

// New makes an executor. The error lists all that is wrong with the configuration. No goroutine starts before the first
// Submit. Close must be called in the end.
func New[T any](cfg Config[T]) (*Executor[T], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Executor[T]{
		cfg:    cfg,
		seed:   maphash.MakeSeed(),
		base:   time.Now(),
		procs:  runtime.GOMAXPROCS(0),
		chunk:  chunkOf[T](),
		poked:  make(chan struct{}, 1),
		ready:  &classes[T]{},
		tables: make(map[ID]*table[T]),
		limit:  cfg.Workers,
		avg:    shortTurn, // until it is known, claims are of one lane
		gone:   make(chan struct{}),
		trimAt: math.MaxInt64,
	}, nil
}

// Open begins a new epoch of a queue. data is for the caller alone, see [Queue.Data]. An earlier epoch of this id must
// have been fenced, with Fence returned: Open panics otherwise, since two epochs at once would break every order.
// After Close the queue is fenced from the start. Safe to call from any goroutine; does not block.
func (e *Executor[T]) Open(id ID, data any) *Queue[T] {
	e.mu.Lock()
	defer e.unlock()
	t := e.tables[id]
	if t == nil {
		t = newTable[T](id)
		e.tables[id] = t
	}
	if t.queue != nil && !t.queue.emptied {
		panic(fmt.Sprintf("keyed: open %s/%d: its earlier epoch is not fenced", id.Name, id.Number))
	}
	q := &Queue[T]{e: e, t: t, data: data, fenced: e.closed, emptied: e.closed, cleared: make(chan struct{})}
	if e.closed {
		e.notes = append(e.notes, q.cleared)
	}
	q.batch.q = q
	t.queue = q
	return q
}

// SetWorkers changes how many turns run at once at most. With fewer, workers end as their turns return; nothing running
// is disturbed. n below 1 is an error and changes nothing. Safe to call from any goroutine; does not block.
func (e *Executor[T]) SetWorkers(n int) error {
	if n <= 0 {
		return fmt.Errorf("keyed: set workers: %d is not more than 0", n)
	}
	e.mu.Lock()
	defer e.unlock()
	e.limit = n
	e.quitIdleLocked(e.started - n)
	e.wakeLocked()
	return nil
}

// Stats tells what the executor is doing, at one moment. Safe to call from any goroutine.
func (e *Executor[T]) Stats() Stats {
	e.mu.Lock()
	defer e.unlock()
	return Stats{
		Workers:     e.limit,
		Started:     e.started,
		Running:     e.running,
		Idle:        e.started - e.awake,
		ReadyLanes:  e.ready.len(),
		ParkedLanes: e.parked,
		Waits:       len(e.waits),
		Turns:       e.turns,
		Overtaken:   e.overtook,
		AverageTurn: time.Duration(e.avg),
	}
}

// Close fences all queues, waits until all turns have returned and all goroutines have ended, and returns nil. Items of a
// queue that was not fenced before are dropped, and nobody is told. If ctx ends first it returns a *StuckError: those
// goroutines end when their turns return. May be called again, to wait on. Not from a turn: it would wait for itself.
//
// Close does not wait for lanes that wait for Complete. Complete must still be called for them, and then does the same as
// after a fence, on its caller's goroutine: it calls Finish for items that leave and drops the others. Call [Queue.Wait]
// before Close to wait for them.
func (e *Executor[T]) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	queues := make([]*Queue[T], 0, len(e.tables))
	for _, t := range e.tables {
		queues = append(queues, t.queue)
	}
	e.unlock()
	for _, q := range queues {
		q.Fence(nil)
	}
	e.mu.Lock()
	e.quitIdleLocked(e.started)
	e.poke = e.clockOn
	e.goneLocked()
	e.unlock()
	select {
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return e.stuck(context.Cause(ctx))
	}
}

// StuckError says which turns still ran when Close gave up waiting.
type StuckError struct {
	Turns []StuckTurn
	cause error
}

// StuckTurn is a turn that has not returned.
type StuckTurn struct {
	ID   ID
	Lane string
	For  time.Duration // since its claim began
}

// Error names the turns, ten at most.
func (s *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "keyed: close: %v; %d turns have not returned (make Run return when it is told to stop):", s.cause, len(s.Turns))
	for _, t := range s.Turns[:min(len(s.Turns), 10)] {
		fmt.Fprintf(&b, " %s/%d lane %q for %v;", t.ID.Name, t.ID.Number, t.Lane, t.For)
	}
	return strings.TrimSuffix(b.String(), ";")
}

// Unwrap is why Close did not wait longer.
func (s *StuckError) Unwrap() error { return s.cause }

func (e *Executor[T]) stuck(cause error) error {
	now := e.now()
	s := &StuckError{cause: cause}
	e.mu.Lock()
	defer e.unlock()
	for _, w := range e.workers {
		if w == nil || w.n == 0 {
			continue
		}
		if i := int(w.word.Load()&indexMask) - 1; i >= 0 && i < w.n {
			l := w.entries[i].lane
			s.Turns = append(s.Turns, StuckTurn{ID: l.table.id, Lane: strings.Clone(l.key), For: time.Duration(now - w.since)})
		}
	}
	return s
}

// now is the time since New; monotonic.
func (e *Executor[T]) now() int64 { return int64(time.Since(e.base)) }

func milli(now int64) uint32 { return uint32(now / int64(time.Millisecond)) } // wraps, see before

func (e *Executor[T]) hashOf(key string) uint32 {
	if e.hash != nil {
		return e.hash(key)
	}
	return uint32(maphash.String(e.seed, key))
}

// unlock ends a stretch under mu and then does what was noted in it.
func (e *Executor[T]) unlock() {
	e.demandLocked()
	if e.wakes == nil && e.notes == nil && !e.poke && !e.start {
		e.mu.Unlock()
		return
	}
	w, notes, poke, start := e.wakes, e.notes, e.poke, e.start
	e.wakes, e.notes, e.poke, e.start = nil, nil, false, false
	e.mu.Unlock()
	for w != nil {
		next := w.link
		w.link = nil
		if w.fresh {
			w.fresh = false
			go e.work(w)
		} else {
			w.wake <- struct{}{} // a slot is free: it is sent to once a sleep
		}
		w = next
	}
	for _, c := range notes {
		close(c)
	}
	if start {
		go e.clock()
	}
	if poke {
		select {
		case e.poked <- struct{}{}:
		default: // it has not seen the last one yet
		}
	}
}

// wakeLocked brings one more worker to what is ready, if it should. That one wakes the next: so no worker is woken for
// work that another has taken meanwhile.
func (e *Executor[T]) wakeLocked() {
	if e.ready.len() == 0 && len(e.gated) == 0 || e.waking >= e.procs {
		return
	}
	if e.avg < shortTurn && e.awake-e.stalled >= e.usefulLocked() {
		e.tickLocked() // should these get stuck, the clock wakes others
		return
	}
	w := e.idle
	switch {
	case w != nil:
		e.idle = w.link
	case e.started < e.limit && !e.closed:
		w = e.newWorkerLocked()
	default:
		return
	}
	e.awake++
	e.waking++
	w.waking = true
	w.link = e.wakes
	e.wakes = w
}

// usefulLocked is how many workers short turns keep busy. More of them than processors would only switch, and more than
// the turns are worth would only contend: for turns that cost less than to claim them, a second worker waits for the
// lock, goes to sleep and is woken again, which together costs several times the turns.
func (e *Executor[T]) usefulLocked() int {
	return min(e.procs, 1+int(e.avg/worthWorker))
}

// worthWorker is the time of a turn for each further worker, in ns: about three times what the lock is held for an item.
const worthWorker = 250

// quitIdleLocked ends up to n idle workers.
func (e *Executor[T]) quitIdleLocked(n int) {
	for ; n > 0 && e.idle != nil; n-- {
		w := e.idle
		e.idle = w.link
		w.quit = true
		e.started--
		w.link = e.wakes
		e.wakes = w
	}
}

func (e *Executor[T]) goneLocked() {
	if e.closed && e.live == 0 && !e.over {
		e.over = true
		e.notes = append(e.notes, e.gone)
	}
}

// forgetLocked lets go of a table that no lane and no open queue needs.
func (e *Executor[T]) forgetLocked(t *table[T]) {
	if t.lanes == 0 && t.queue.emptied && e.tables[t.id] == t {
		delete(e.tables, t.id)
		t.reset() // its queues may be kept by whoever opened them
		e.gated = slices.DeleteFunc(e.gated, func(q *Queue[T]) bool { return q.t == t })
	}
}
