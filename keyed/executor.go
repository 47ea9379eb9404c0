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

// ErrFenced reports that the queue is fenced: it starts no more turns and accepts no more items.
var ErrFenced = errors.New("keyed: queue is fenced")

// Executor runs the items of many queues on a bounded number of workers: in order within a lane, concurrently across
// lanes.
//
// It owns its goroutines: workers, which start when load needs them and may end when it does not, and one clock, which
// starts when there is first something to watch. Close ends them all.
//
// An Executor is safe for concurrent use.
type Executor[T any] struct {
	cfg   Config[T]
	seed  maphash.Seed
	hash  func(string) uint32 // set by tests; nil means maphash
	base  time.Time
	slow  slowLanes
	procs int
	chunk int           // nodes allocated at once
	poked chan struct{} // wakes the clock; one slot

	// mu guards the fields below and all lanes, tables and queues. It is held for at most some hundred steps, and never
	// over a callback, a channel operation or the start of a goroutine. Code under mu records workers to wake, channels
	// to close and goroutines to start, and unlock does that.
	mu      sync.Mutex
	ready   scheduler[T]
	tables  map[ID]*table[T]
	blank   *[pageSize]*lane[T] // first page of tables without lanes; always empty
	nodes   pool[node[T]]
	lanes   pool[lane[T]]
	multis  pool[multi[T]]
	flushes pool[flush[T]]
	waits   []*Token[T]   // tokens of the lanes that wait for Complete, in any order
	serial  uint32        // number of the last unordered lane
	gated   []*Queue[T]   // queues with gated items that can join now
	demand  chan struct{} // closed when few lanes are ready; nil if no call waits for that

	limit    int          // maximum number of workers
	workers  []*worker[T] // by number; nil where a worker has ended
	numbers  []int        // free worker numbers
	idle     *worker[T]   // latest sleeper first
	started  int          // workers without a request to end
	awake    int          // started workers that are not idle
	needless int          // fewest idle workers since the last trim
	waking   int          // awake workers that have not looked for work yet
	running  int          // workers that have a claim
	oldest   *worker[T]   // list of running, not stalled workers, by the start of their claims
	newest   *worker[T]
	stalled  int   // workers whose claim is older than a tick
	open     int   // claims of several lanes that are not closed
	avg      int64 // moving average of a turn's duration, in ns
	turns    int64
	busy     int64 // duration of these turns, in ns
	overtook int64
	reported int64 // the highest Stats.Busy so far

	heap    []parkedLane[T]
	parked  int
	clockOn bool
	clockAt int64 // when the clock wakes next
	ticking bool  // clockAt is at most a tick away
	trimAt  int64

	closed bool
	live   int // goroutines that have not ended
	gone   chan struct{}
	over   bool // gone is closed or about to be

	wakes *worker[T]
	notes []chan struct{}
	poke  bool
	start bool // start the clock
}

// Stats describes an executor at one moment.
type Stats struct {
	Workers     int           // maximum number of workers
	Started     int           // worker goroutines
	Running     int           // workers that have a claim
	Idle        int           // workers waiting for work
	ReadyLanes  int           // lanes waiting for a worker
	ParkedLanes int           // lanes parked for a time or until Resume
	Waits       int           // tokens waiting for Complete
	Turns       int64         // turns returned since New
	Busy        time.Duration // time that all workers have spent in turns since New, with those that run; it never decreases
	Overtaken   int64         // lanes taken from a worker stuck in an earlier turn of the same claim
	AverageTurn time.Duration
	Longest     time.Duration // age of the oldest claim; 0 if no worker has one
}

// New returns an executor. On a bad Config it returns all configuration errors at once. It starts no goroutine; the
// first Submit does. The caller must call Close.
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
		blank:  new([pageSize]*lane[T]),
		limit:  cfg.Workers,
		avg:    shortTurn, // a claim has one lane until the average is known
		gone:   make(chan struct{}),
		trimAt: math.MaxInt64,
	}, nil
}

// Open begins a new epoch of a queue. [Queue.Data] returns data.
//
// Open panics if Fence of the id's earlier epoch has not returned: two open epochs could not keep order. After Close, Open
// returns a fenced queue. It is safe to call from any goroutine and does not block.
func (e *Executor[T]) Open(id ID, data any) *Queue[T] {
	e.mu.Lock()
	defer e.unlock()
	t := e.tables[id]
	if t == nil {
		t = newTable(id, e.blank)
		e.tables[id] = t
	}
	if t.queue != nil && !t.queue.emptied {
		panic(fmt.Sprintf("keyed: open %s/%d: the earlier epoch is not fenced; wait for Fence to return", id.Name, id.Number))
	}
	q := &Queue[T]{e: e, t: t, data: data, fenced: e.closed, emptied: e.closed, depth: math.MaxUint32}
	q.batch.q = q
	t.queue = q
	return q
}

// SetWorkers sets the maximum number of concurrent turns. A lower limit takes effect as turns return; it disturbs no
// running turn. An n below 1 is an error and changes nothing. SetWorkers is safe to call from any goroutine and does
// not block.
func (e *Executor[T]) SetWorkers(n int) error {
	if n <= 0 {
		return fmt.Errorf("keyed: set workers: %d must be more than 0", n)
	}
	e.mu.Lock()
	defer e.unlock()
	e.limit = n
	e.quitIdleLocked(e.started - n)
	e.wakeLocked()
	return nil
}

// Stats returns the executor's state at one moment. It looks at each worker once. It is safe to call from any goroutine.
func (e *Executor[T]) Stats() Stats {
	now := e.now()
	e.mu.Lock()
	defer e.unlock()
	longest, busy := int64(0), e.busy
	for _, w := range e.workers {
		if w != nil && w.n > 0 {
			longest = max(longest, now-w.since)
			busy += max(0, now-w.since)
		}
	}
	e.reported = max(e.reported, busy) // a claim has the time between its turns, too
	return Stats{
		Workers:     e.limit,
		Started:     e.started,
		Running:     e.running,
		Idle:        e.started - e.awake,
		ReadyLanes:  e.ready.len(),
		ParkedLanes: e.parked,
		Waits:       len(e.waits),
		Turns:       e.turns,
		Busy:        time.Duration(e.reported),
		Overtaken:   e.overtook,
		AverageTurn: time.Duration(e.avg),
		Longest:     time.Duration(longest),
	}
}

// Close fences all queues and waits until all turns have returned and all goroutines have ended. It drops the items of
// queues that were not fenced before, without calling a drop function.
//
// If ctx ends first, Close returns a *StuckError; the remaining goroutines end when their turns return. Close may be
// called again to wait longer. It must not be called from a turn, which would wait for itself.
//
// Close does not wait for lanes that wait for Complete; call [Queue.Wait] first to wait for them. The caller must still
// call Complete for them. Complete then acts as after a fence, on its caller's goroutine: it calls Finish for items
// that leave and drops the others.
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

// StuckError lists the turns that were still running when Close gave up.
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

// Error names at most ten of the turns.
func (s *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "keyed: close: %v; %d turns have not returned (make Run return when it is told to stop):", s.cause, len(s.Turns))
	for _, t := range s.Turns[:min(len(s.Turns), 10)] {
		fmt.Fprintf(&b, " %s/%d lane %q for %v;", t.ID.Name, t.ID.Number, t.Lane, t.For)
	}
	return strings.TrimSuffix(b.String(), ";")
}

// Unwrap returns the cause of Close's ctx.
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

// now returns the ns since New, from the monotonic clock.
func (e *Executor[T]) now() int64 { return int64(time.Since(e.base)) }

func milli(now int64) uint32 { return uint32(now / int64(time.Millisecond)) } // wraps around: compare with before

func (e *Executor[T]) hashOf(key string) uint32 {
	if e.hash != nil {
		return e.hash(key)
	}
	return uint32(maphash.String(e.seed, key))
}

// unlock releases mu. Then it does the work that code under mu has recorded: it wakes workers, closes channels and starts
// or wakes the clock.
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
			w.wake <- struct{}{} // does not block: the slot is free, with one send for each sleep
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
		default: // the clock has not received the previous one yet
		}
	}
}

// wakeLocked wakes or starts one worker if there is work for it. That worker wakes the next one, so no worker is woken
// for work that another has claimed meanwhile.
func (e *Executor[T]) wakeLocked() {
	if e.ready.len() == 0 && len(e.gated) == 0 || e.waking >= e.procs {
		return
	}
	if e.avg < shortTurn && e.awake-e.stalled >= e.usefulLocked() {
		e.tickLocked() // if these get stuck, the clock wakes others
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
	e.needless = min(e.needless, e.started-e.awake)
	w.waking = true
	w.link = e.wakes
	e.wakes = w
}

// usefulLocked returns how many workers short turns can keep busy. More workers than processors would only switch
// contexts. If a turn costs less than its claim, further workers only contend: each waits for the lock, sleeps and is
// woken, which costs several times the turn.
func (e *Executor[T]) usefulLocked() int {
	return min(e.procs, 1+int(e.avg/worthWorker))
}

// worthWorker is the turn duration, in ns, that justifies each further worker: about three times as long as the lock is
// held for an item.
const worthWorker = 250

// quitIdleLocked makes up to n idle workers end.
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

// forgetLocked removes a table that has no lane and no open queue.
func (e *Executor[T]) forgetLocked(t *table[T]) {
	if t.lanes == 0 && t.queue.emptied && e.tables[t.id] == t {
		delete(e.tables, t.id)
		t.reset() // frees memory even if the caller keeps the Queue
		e.gated = slices.DeleteFunc(e.gated, func(q *Queue[T]) bool { return q.t == t })
	}
}
