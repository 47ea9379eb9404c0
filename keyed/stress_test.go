package keyed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A round of the stress test is an executor with three queues of 400 keys, opened and fenced again and again. Meanwhile
// turns end in every possible way or wait for Complete, which comes before or after they return. The number of workers
// changes, and other goroutines read snapshots and resume lanes. A round checks:
//
//   - order, one turn of a key at a time, and barriers;
//   - exactly one Finish or drop for each item, and the sums of Counts;
//   - that no worker sleeps while work is ready and nobody is due to claim it;
//   - that no token is left.
//
// The round's seed decides what each goroutine does. In real time it does not decide how they interleave.
//
//	KEYSTRAND_STRESS_SEED=17 KEYSTRAND_STRESS_ROUNDS=1000 go test -race -timeout 0 -run TestStress -v ./keyed
//
// Rounds use consecutive seeds, from the given one on. Without it the first seed is random.
const (
	stressQueues = 3
	stressKeys   = 400
	stressStall  = 60 * time.Second // without progress, print the state and exit
)

// Runs on real threads in real time.
func TestStress(t *testing.T) { // I1, I2, I7, I9, I10
	stressRounds(t, 10, func(seed uint64) {
		s := newStress(t, seed)
		guard := make(chan struct{})
		go s.guard(guard)
		s.run()
		close(guard)
	})
}

// In virtual time a hang is a deadlock, which synctest reports.
func TestStressInVirtualTime(t *testing.T) {
	stressRounds(t, 10, func(seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			s := newStress(t, seed)
			s.virtual = true
			guard := make(chan struct{})
			go s.guard(guard)
			s.run()
			close(guard)
		})
	})
}

func stressRounds(t *testing.T, rounds int, round func(seed uint64)) {
	t.Helper()
	seed := rand.Uint64N(1 << 40)
	if v := os.Getenv("KEYSTRAND_STRESS_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("KEYSTRAND_STRESS_SEED: %v", err)
		}
	}
	if v := os.Getenv("KEYSTRAND_STRESS_ROUNDS"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatalf("KEYSTRAND_STRESS_ROUNDS: %v", err)
		}
	}
	t.Logf("%d rounds, the first with KEYSTRAND_STRESS_SEED=%d", rounds, seed)
	for i := range uint64(rounds) {
		round(seed + i)
		if t.Failed() {
			t.Fatalf("KEYSTRAND_STRESS_SEED=%d KEYSTRAND_STRESS_ROUNDS=1", seed+i)
		}
	}
}

type stress struct {
	t       *testing.T
	seed    uint64
	e       *Executor[*stressed]
	ids     [stressQueues]stressID
	steps   atomic.Int64 // counts any progress
	epochs  int
	virtual bool           // time passes only in sleeps
	abrupt  bool           // Close is called while the last epochs run
	rest    sync.WaitGroup // waits that outlive their epoch
	waits   stressWaits
}

// stressID is a queue id. Its marks of running lanes outlive epochs (I2).
type stressID struct {
	number  int
	running [stressKeys]atomic.Int32
	turns   atomic.Int32
	alone   atomic.Bool // set while a barrier runs

	mu    sync.Mutex
	epoch *stressEpoch // the newest
}

type stressEpoch struct {
	id        *stressID
	number    int
	q         *Queue[*stressed]
	over      atomic.Bool // set when Fence and Wait have returned
	submitted atomic.Int64
	finished  atomic.Int64
	dropped   atomic.Int64
	barriers  atomic.Int64             // finished
	next      [stressKeys]atomic.Int64 // by lane: place of the first unfinished item
}

// stressed is an item. The executor has only a pointer to it, so the test can read it after it has left.
type stressed struct {
	epoch    *stressEpoch
	number   int64 // position in its epoch
	barrier  bool
	barriers int64 // barriers submitted before it
	keys     []int
	places   []int64 // position in each of its lanes
	turns    atomic.Int32
	ended    atomic.Int32
}

func newStress(t *testing.T, seed uint64) *stress {
	t.Helper()
	s := &stress{t: t, seed: seed}
	rnd := s.rand(0)
	s.epochs = 1 + rnd.IntN(8)
	s.abrupt = rnd.IntN(3) == 0
	s.e = newExecutor(t, Config[*stressed]{
		Workers: 1 + rnd.IntN(12),
		MaxTurn: 1 + rnd.IntN(4),
		Share:   []int{0, 5, 50, 50, 50}[rnd.IntN(5)],
		Run:     s.turn,
		Finish:  s.finish,
		Exited:  func(turn *Turn[*stressed]) Result { return s.exited(turn) },
		Peek:    func(dst, item **stressed) { *dst = *item },
	})
	if rnd.IntN(4) == 0 {
		s.e.procs = 1 + rnd.IntN(8)
	}
	for i := range s.ids {
		s.ids[i].number = i
	}
	return s
}

func (s *stress) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

// roll returns 0 to 999, always the same for the same item, turn and question.
func (s *stress) roll(x *stressed, question uint64) int {
	h := s.seed
	for _, v := range []uint64{uint64(x.epoch.id.number), uint64(x.epoch.number), uint64(x.number), uint64(x.turns.Load()), question} {
		h = (h ^ v) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return int(h % 1000)
}

func (s *stress) run() {
	stop := make(chan struct{})
	var others, queues sync.WaitGroup
	others.Go(func() { s.setWorkers(stop) })
	others.Go(func() { s.completeBatches(stop) })
	for i := range s.ids {
		others.Go(func() { s.lookOn(i, stop) })
		queues.Go(func() {
			for n := range s.epochs {
				s.epoch(&s.ids[i], n)
			}
		})
	}
	queues.Wait()
	begun := time.Now()
	closeExecutor(s.t, s.e) // at once: workers may not have become idle yet
	if d := time.Since(begun); s.virtual && d > time.Second {
		s.t.Errorf("Close took %v, longer than any turn", d)
	}
	close(stop)
	others.Wait()
	s.rest.Wait()
	for i := range s.ids {
		s.check(s.ids[i].newest())
	}
	if st := s.e.Stats(); s.e.live != 0 || st.Started != 0 || st.Running != 0 || st.ReadyLanes != 0 || st.ParkedLanes != 0 || st.Waits != 0 {
		s.t.Errorf("I10: %d goroutines are left after Close: %+v", s.e.live, st)
	}
}

func (id *stressID) newest() *stressEpoch {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.epoch
}

// epoch opens a queue and either fences it at a random moment or waits until all its items are done.
func (s *stress) epoch(id *stressID, n int) {
	rnd := s.rand(uint64(id.number)<<32 | uint64(n)<<8 | 1)
	ep := &stressEpoch{id: id, number: n}
	ep.q = s.e.Open(ID{"stress", int32(id.number)}, ep)
	id.mu.Lock()
	id.epoch = ep
	id.mu.Unlock()
	last := n == s.epochs-1
	batches := 1 << 30
	drains := rnd.IntN(3) == 0 || last && !s.abrupt
	if drains {
		batches = rnd.IntN(8)
	}
	var submitter sync.WaitGroup
	submitter.Go(func() { s.submit(ep, batches, s.rand(uint64(id.number)<<32|uint64(n)<<8|2)) })
	if drains {
		submitter.Wait()
		for ep.finished.Load() < ep.submitted.Load() {
			time.Sleep(200 * time.Microsecond) // real time: the turns end when they do
		}
	} else {
		time.Sleep(time.Duration(rnd.IntN(8000)) * time.Microsecond) // real time: a random moment of the work
	}
	if last && s.abrupt {
		ends := rnd.IntN(2000)
		s.rest.Go(func() {
			time.Sleep(time.Duration(ends) * time.Microsecond) // real time: during Close, or before it
			ep.q.Fence(s.drop)
			submitter.Wait()
		})
		return
	}
	if last && rnd.IntN(2) == 0 {
		return // all items are done; Close fences the queue
	}
	ep.q.Fence(s.drop)
	s.steps.Add(1)
	if rnd.IntN(3) == 0 { // the next epoch opens while turns of this one run
		s.rest.Go(func() { submitter.Wait() })
		return
	}
	if err := ep.q.Wait(context.Background()); err != nil {
		s.t.Error(err)
	}
	ep.over.Store(true)
	submitter.Wait()
	s.check(ep)
}

// check checks an epoch that has ended.
func (s *stress) check(ep *stressEpoch) {
	c := ep.q.Counts()
	if c.Submitted != c.Finished+c.Dropped || c.Running+c.Waiting+c.Ready+c.Parked != 0 {
		s.t.Errorf("I9: %+v", c)
	}
	if c.Finished != ep.finished.Load() || c.Submitted != ep.submitted.Load() {
		s.t.Errorf("I9: %d items submitted, %d finished, but Counts = %+v", ep.submitted.Load(), ep.finished.Load(), c)
	}
	if d := ep.dropped.Load(); d != c.Dropped && !s.abrupt { // Close drops without a callback
		s.t.Errorf("I9: %d items dropped, but Counts = %+v", d, c)
	}
}

func (s *stress) submit(ep *stressEpoch, batches int, rnd *rand.Rand) {
	var places [stressKeys]int64
	var number, barriers int64
	for range batches {
		b := ep.q.Batch()
		for range 1 + rnd.IntN(1+rnd.IntN(700)) {
			x := &stressed{epoch: ep, number: number, barriers: barriers}
			switch p := rnd.IntN(1000); {
			case p < 3:
				x.barrier = true
				barriers++
				*b.AddBarrier() = x
			case p < 30:
				*b.AddUnordered() = x
			default:
				lanes := 1
				if p < 150 {
					lanes = 2 + rnd.IntN(3)
				}
				x.keys = make([]int, lanes)
				for i := range x.keys {
					if rnd.IntN(3) > 0 {
						x.keys[i] = rnd.IntN(stressKeys)
					} else {
						x.keys[i] = rnd.IntN(8) // hot keys
					}
				}
				s.add(b, x, &places)
			}
			number++
		}
		n := int64(b.Len())
		if err := ep.q.Submit(b); err != nil {
			return
		}
		ep.submitted.Add(n)
		if rnd.IntN(4) == 0 {
			if err := s.e.AwaitDemand(context.Background()); err != nil {
				s.t.Error(err)
			}
		}
		if err := ep.q.AwaitShare(context.Background()); err != nil {
			return
		}
		if number > 20_000 || rnd.IntN(4) == 0 {
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond) // real time: lets the others run
		}
	}
}

// add adds an item to its lanes. Some may be named twice.
func (s *stress) add(b *Batch[*stressed], x *stressed, places *[stressKeys]int64) {
	names := make([]string, len(x.keys))
	for i, k := range x.keys {
		names[i] = strconv.Itoa(k)
	}
	*b.Add(names[0], names[1:]...) = x
	keys := x.keys[:0]
	for i, k := range x.keys {
		twice := false
		for _, earlier := range keys[:min(i, len(keys))] {
			twice = twice || earlier == k
		}
		if !twice {
			keys = append(keys, k)
			x.places = append(x.places, places[k])
			places[k]++
		}
	}
	x.keys = keys
}

func (s *stress) turn(turn *Turn[*stressed]) Result {
	ep, _ := turn.Queue.Data().(*stressEpoch)
	id, x := ep.id, *turn.Items[0]
	if ep.over.Load() {
		s.t.Error("I7: a turn started after Fence and Wait")
	}
	for i, p := range turn.Items {
		s.mayStart(ep, *p, int64(i), len(turn.Items))
	}
	for _, k := range x.keys {
		if id.running[k].Add(1) != 1 {
			s.t.Errorf("I2: two turns of lane %d run concurrently", k)
		}
	}
	others := id.turns.Add(1) - 1
	if others > 0 && x.barrier || id.alone.Load() {
		s.t.Errorf("a turn runs beside a barrier: barrier %v, %d others", x.barrier, others)
	}
	if x.barrier {
		id.alone.Store(true)
	}
	end := func() {
		if x.barrier {
			id.alone.Store(false)
		}
		id.turns.Add(-1)
		for _, k := range x.keys {
			id.running[k].Add(-1)
		}
	}
	defer func() { // a turn that calls Goexit comes here too
		for _, p := range turn.Items {
			(*p).turns.Add(1)
		}
		end()
		s.steps.Add(1)
	}()
	if p := s.roll(x, 10); p < 150 && x.turns.Load() <= 3 {
		end = s.await(turn, x, p, end)
		return Result{Done: s.roll(x, 11) % len(turn.Items), Next: Singly(p % 2)}
	}
	return s.outcome(x, len(turn.Items))
}

// mayStart checks that Finish was called for everything that the item must wait for.
func (s *stress) mayStart(ep *stressEpoch, x *stressed, ahead int64, items int) {
	if x.epoch != ep || x.ended.Load() != 0 {
		s.t.Errorf("item %d of epoch %d runs in epoch %d after %d ends", x.number, x.epoch.number, ep.number, x.ended.Load())
	}
	if items > 1 && len(x.keys) != 1 {
		s.t.Errorf("an item of %d lanes runs in a turn of %d items, want 1", len(x.keys), items)
	}
	for i, k := range x.keys {
		if n := ep.next[k].Load(); x.places[i] != n+ahead {
			s.t.Errorf("I1: item %d of lane %d runs when %d are finished and %d precede it in its turn", x.places[i], k, n, ahead)
		}
	}
	if n := ep.barriers.Load(); n < x.barriers {
		s.t.Errorf("an item behind %d barriers runs when %d are finished", x.barriers, n)
	}
	if n := ep.finished.Load(); x.barrier && n != x.number {
		s.t.Errorf("a barrier behind %d items runs when %d are finished", x.number, n)
	}
}

func (s *stress) outcome(x *stressed, items int) (r Result) {
	defer func() {
		if recover() != nil { // as a Run that recovers panics does
			r = Result{Next: Singly(items), Hold: s.roll(x, 2)%2 == 0}
		}
	}()
	r.Done = items
	p := s.roll(x, 1)
	if p%5 == 0 {
		runtime.Gosched()
	}
	if x.turns.Load() > 3 {
		return r
	}
	switch {
	case p < 30:
		r.Done = s.roll(x, 3) % (items + 1)
		r.Park = time.Duration(s.roll(x, 4)*3) * time.Microsecond
	case p < 50:
		r.Done = s.roll(x, 3) % (items + 1)
		r.Hold = true
	case p < 60:
		runtime.Goexit()
	case p < 70:
		panic("a bug of the handler's")
	case p < 80:
		r = Result{} // run it again
	case p < 90:
		r = Result{Done: items / 2, Next: Singly(items)}
	case p < 100:
		time.Sleep(time.Duration(s.roll(x, 5)*3) * time.Microsecond) // real time: a long turn
	case p < 103:
		time.Sleep(time.Duration(s.roll(x, 5)*20) * time.Microsecond) // real time: a longer turn
	}
	return r
}

func (s *stress) exited(turn *Turn[*stressed]) Result {
	x := *turn.Items[0]
	switch p := s.roll(x, 6); {
	case p < 300:
		return Result{Done: len(turn.Items)}
	case p < 600:
		return Result{Park: time.Duration(p) * time.Microsecond}
	default:
		return Result{Hold: true}
	}
}

func (s *stress) finish(q *Queue[*stressed], items []**stressed) {
	ep, _ := q.Data().(*stressEpoch)
	if p := s.roll(*items[0], 7); p < 5 {
		time.Sleep(time.Duration(s.roll(*items[0], 8)*5) * time.Microsecond) // real time: a slow commit
	} else if p < 100 {
		runtime.Gosched()
	}
	for _, p := range items {
		x := *p
		s.end(ep, x)
		for i, k := range x.keys {
			if !ep.next[k].CompareAndSwap(x.places[i], x.places[i]+1) {
				s.t.Errorf("item %d of lane %d finished after %d items of the lane", x.places[i], k, ep.next[k].Load())
			}
		}
		if x.barrier {
			ep.barriers.Add(1)
		}
	}
	ep.finished.Add(int64(len(items)))
	s.steps.Add(1)
}

func (s *stress) drop(p **stressed) {
	x := *p
	if s.roll(x, 9) < 100 {
		runtime.Gosched()
	}
	s.end(x.epoch, x)
	x.epoch.dropped.Add(1)
	s.steps.Add(1)
}

func (s *stress) end(ep *stressEpoch, x *stressed) {
	if n := x.ended.Add(1); n != 1 || x.epoch != ep {
		s.t.Errorf("item %d ended %d times, want 1", x.number, n)
	}
}

func (s *stress) setWorkers(stop chan struct{}) {
	rnd := s.rand(3)
	for !stopped(stop) {
		if err := s.e.SetWorkers(1 + rnd.IntN(12)); err != nil {
			s.t.Error(err)
		}
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond) // real time: lets the others run
	}
}

// lookOn resumes lanes of one queue and reads its snapshot and the executor's Stats.
func (s *stress) lookOn(number int, stop chan struct{}) {
	rnd := s.rand(4 + uint64(number))
	for !stopped(stop) {
		ep := s.ids[number].newest()
		if ep == nil {
			runtime.Gosched()
			continue
		}
		switch rnd.IntN(8) {
		case 0:
			ep.q.ResumeHeld()
		case 1:
			for range 50 {
				ep.q.Resume(strconv.Itoa(rnd.IntN(stressKeys)))
			}
		case 2:
			s.visit(ep, rnd.IntN(1000))
		default:
			for range 10 {
				s.oweNothing()
				if c := ep.q.Counts(); c.Submitted != c.Finished+c.Running+c.Waiting+c.Ready+c.Parked+c.Dropped {
					s.t.Errorf("I9: %+v", c)
				}
			}
		}
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond) // real time: lets the others run
	}
}

func (s *stress) visit(ep *stressEpoch, most int) {
	ep.q.Lanes(func(l Lane[*stressed]) bool {
		if l.Len < 0 || l.State < Ready || l.State > Waiting || l.Held && l.State != Parked {
			s.t.Errorf("%+v", l)
		}
		if l.Head != nil && !l.Unordered && l.Head.epoch.id != ep.id {
			s.t.Errorf("the head of lane %s belongs to another queue", l.Key)
		}
		most--
		return most > 0
	})
}

func stopped(stop chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// oweNothing checks, whenever the lock is free, that ready work has somebody due to claim it: a worker that is waking
// or between claims, a busy worker when the limit is reached, or the clock. Otherwise a wake-up was lost.
func (s *stress) oweNothing() {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	work := e.ready.len() > 0 || len(e.gated) > 0
	full := e.idle == nil && (e.started >= e.limit || e.closed)
	short := e.avg < shortTurn && e.awake-e.stalled >= e.usefulLocked()
	switch {
	case !work, full, e.waking > 0, e.awake > e.running:
	case short && e.clockOn && e.clockAt <= e.now()+tick:
	default:
		s.t.Errorf("lost wake-up for %d ready lanes and %d gates: %s", e.ready.len(), len(e.gated), s.describeLocked())
	}
}

// guard prints the state and ends the process when there is no progress for stressStall.
func (s *stress) guard(stop chan struct{}) {
	for last := int64(-1); ; {
		select {
		case <-stop:
			return
		case <-time.After(stressStall): // real time: a hang guard
		}
		now := s.steps.Load()
		if now != last {
			last = now
			continue
		}
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "no progress in %v, KEYSTRAND_STRESS_SEED=%d\n%s\n%s\n", stressStall, s.seed, s.describe(), buf[:runtime.Stack(buf, true)])
		panic("keyed: the stress hangs")
	}
}

func (s *stress) describe() string {
	for range 1000 {
		if s.e.mu.TryLock() {
			defer s.e.mu.Unlock()
			d := s.describeLocked()
			for id, t := range s.e.tables {
				q := t.queue
				d += fmt.Sprintf("\n%v: %d lanes, barrier %v, gate %d (joining %v), fenced %v, emptied %v; submitted %d, finished %d, dropped %d, "+
					"ready %d, running %d, parked %d, waiting %d, turns %d, over share %d", id, t.lanes, t.barrier != nil, q.gateLen(), q.joining, q.fenced, q.emptied,
					q.submitted, q.finished, q.dropped, q.ready, q.running, q.parked, q.waiting, q.turns, q.over)
			}
			return d
		}
		runtime.Gosched()
	}
	return "somebody keeps the lock"
}

func (s *stress) describeLocked() string {
	e := s.e
	idle := 0
	for w := e.idle; w != nil; w = w.link {
		idle++
	}
	oldest := int64(-1)
	if e.oldest != nil {
		oldest = e.oldest.since
	}
	d := fmt.Sprintf("at %d: %d procs, limit %d, started %d, idle %d, awake %d, waking %d, running %d, stalled %d, open %d; "+
		"ready %d, gated %d, heap %d, parked %d; avg %d, demand %v; clock on %v at %d, ticking %v, oldest %d, trim at %d; closed %v, live %d",
		e.now(), e.procs, e.limit, e.started, idle, e.awake, e.waking, e.running, e.stalled, e.open,
		e.ready.len(), len(e.gated), len(e.heap), e.parked, e.avg, e.demand != nil, e.clockOn, e.clockAt, e.ticking, oldest, e.trimAt, e.closed, e.live)
	for _, w := range e.workers {
		if w != nil && w.n > 0 {
			d += fmt.Sprintf("\nworker %d: claim of %d since %d, word %x, open %v, stalled %v", w.number, w.n, w.since, w.word.Load(), w.open, w.stalled)
		}
	}
	return d
}
