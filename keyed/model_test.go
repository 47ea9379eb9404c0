package keyed

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The model is a trivial executor: one list of items a queue, in submit order, searched from the front for every
// question. It follows the real executor's turns and results, and reports every step that is not allowed.

type modelItem struct {
	number  int
	queue   *modelQueue
	keys    []string // unique for unordered items and barriers
	barrier bool
	named   bool       // keys are lane names, not made up
	turn    *modelTurn // the turn that runs it now
	parked  *modelPark // the park of its last Result
	ended   int        // calls of Finish and drop
	mayEnd  bool       // Finish is allowed
	mayDrop bool
	exit    Result // Result of Exited, if it was the turn's first item
}

type modelPark struct {
	until time.Time
	held  bool // ends by Resume and ResumeHeld
	timed bool // ends at until
}

func (p *modelPark) over() bool { return (!p.held || p.timed) && !time.Now().Before(p.until) }

type modelQueue struct {
	id        ID
	q         *Queue[*modelItem]
	fenced    bool
	waiting   []*modelItem // without running items; an item that comes back goes to its place
	submitted int64
	finished  int64
	dropped   int64
	deep      int             // of SetDeep
	deepened  map[string]bool // lanes that Put made deep since the last Submit
	gated     bool            // an item waited behind a barrier since the last Submit
}

type modelTurn struct {
	items  []*modelItem
	queue  *modelQueue
	result chan modelResult
	token  *Token[*modelItem] // the token that the turn waits for
}

type modelResult struct {
	Result
	goexit bool
	await  *Token[*modelItem]
	early  *Result // Result of a token completed before the turn returns
}

type model struct {
	t       *rapid.T
	e       *Executor[*modelItem]
	maxTurn int
	quit    chan struct{} // closed: turns end at once
	over    bool

	mu      sync.Mutex
	limit   int
	queues  map[ID]*modelQueue // the newest epochs
	running []*modelTurn
	awaits  []*modelTurn                 // turns that have returned and wait for Complete
	again   map[ID]map[string]int        // number of items in a lane's next turn; 0 if any
	park    map[ID]map[string]*modelPark // by lane
	single  map[ID]map[string]int
	unended []*modelItem // done, Finish not called yet
	next    int
	broken  []string
}

func (m *model) objectLocked(format string, args ...any) {
	m.broken = append(m.broken, fmt.Sprintf(format, args...))
}

func TestExecutorMatchesDumbModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			newModel(t).play()
		})
	})
}

func newModel(t *rapid.T) *model {
	m := &model{
		quit:    make(chan struct{}),
		t:       t,
		maxTurn: rapid.IntRange(1, 4).Draw(t, "maxTurn"),
		limit:   rapid.IntRange(1, 6).Draw(t, "workers"),
		queues:  make(map[ID]*modelQueue),
		park:    make(map[ID]map[string]*modelPark),
		single:  make(map[ID]map[string]int),
		again:   make(map[ID]map[string]int),
	}
	e, err := New(Config[*modelItem]{
		Workers: m.limit,
		MaxTurn: m.maxTurn,
		Share:   2,
		Run:     m.run,
		Finish:  m.finish,
		Exited:  func(t *Turn[*modelItem]) Result { return (*t.Items[0]).exit },
		Peek:    func(dst, item **modelItem) { *dst = *item },
	})
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "equal hashes") {
		e.hash = func(string) uint32 { return 7 }
	}
	m.e = e
	for _, id := range []ID{{"a", 0}, {"b", 1}} {
		m.park[id], m.single[id], m.again[id] = make(map[string]*modelPark), make(map[string]int), make(map[string]int)
		m.open(id)
	}
	return m
}

func (m *model) open(id ID) {
	mq := &modelQueue{id: id, deep: rapid.IntRange(0, 4).Draw(m.t, "deep"), deepened: make(map[string]bool)}
	mq.q = m.e.Open(id, mq)
	mq.q.SetDeep(mq.deep)
	m.queues[id] = mq
}

func (m *model) play() {
	defer m.shutdown()
	m.t.Repeat(map[string]func(*rapid.T){
		"submit":   m.submit,
		"put":      m.put,
		"end":      m.end,
		"end too":  m.end,
		"complete": m.complete,
		"sleep":    func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 50).Draw(t, "ms")) * time.Millisecond) },
		"resume":   m.resume,
		"workers":  m.workers,
		"fence":    m.fence,
		"":         m.check,
	})
	for _, mq := range m.queues {
		m.fenceQueue(mq)
	}
	m.shutdown()
	m.check(m.t)
	if n := m.e.Stats().Waits; n > 0 {
		m.t.Fatalf("%d tokens still wait", n)
	}
	for _, x := range m.unended {
		m.t.Fatalf("item %d left without a call of Finish", x.number)
	}
}

// shutdown ends all turns and goroutines, after a failure too, since the bubble waits for them.
func (m *model) shutdown() {
	if m.over {
		return
	}
	m.over = true
	synctest.Wait()
	close(m.quit)
	synctest.Wait()
	for len(m.awaits) > 0 {
		m.completeTurn(m.awaits[0], Result{Done: len(m.awaits[0].items)})
	}
	if err := m.e.Close(context.Background()); err != nil {
		panic(err)
	}
}

func (m *model) pick(t *rapid.T) *modelQueue {
	return m.queues[rapid.SampledFrom([]ID{{"a", 0}, {"b", 1}}).Draw(t, "queue")]
}

func (m *model) submit(t *rapid.T) {
	mq := m.pick(t)
	m.settle()
	m.mu.Lock()
	length, gated := m.lengthsLocked(mq)
	m.mu.Unlock()
	deep, unknown := mq.deepened, mq.gated || gated
	mq.deepened = make(map[string]bool)
	b := mq.q.Batch()
	for range rapid.IntRange(1, 6).Draw(t, "items") {
		x := &modelItem{number: m.next, queue: mq}
		m.next++
		var p **modelItem
		switch rapid.IntRange(0, 19).Draw(t, "kind") {
		case 0:
			p, x.keys, x.barrier = b.AddBarrier(), []string{fmt.Sprint("barrier ", x.number)}, true
		case 1:
			p, x.keys = b.AddUnordered(), []string{fmt.Sprint("unordered ", x.number)}
		default:
			n := 1
			if rapid.IntRange(0, 3).Draw(t, "many") == 0 {
				n = rapid.IntRange(2, 4).Draw(t, "n")
			}
			for range n {
				x.keys = append(x.keys, rapid.SampledFrom([]string{"", "k1", "k2", "k3", "k4", "k5"}).Draw(t, "key"))
			}
			p = b.Add(x.keys[0], x.keys[1:]...)
			x.named = true
			slices.Sort(x.keys)
			x.keys = slices.Compact(x.keys)
		}
		*p = x
		mq.waiting = append(mq.waiting, x)
		gated = gated || x.barrier
		for _, k := range x.keys {
			length[k]++
			if !gated && len(x.keys) == 1 && mq.deep > 0 && length[k] > mq.deep {
				deep[k] = true
			}
		}
	}
	mq.gated = gated
	m.mu.Lock()
	mq.submitted += int64(b.Len())
	m.mu.Unlock()
	if err := mq.q.Submit(b); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, k := range b.Deep() {
		if got[k] {
			t.Fatalf("lane %q is deep twice: %q", k, b.Deep())
		}
		got[k] = true
	}
	for k := range deep {
		if !got[k] {
			t.Fatalf("lane %q has %d items and is not deep: %q", k, length[k], b.Deep())
		}
	}
	if !unknown && len(got) > len(deep) {
		t.Fatalf("lanes %q are deep, want %v", b.Deep(), deep)
	}
}

// lengthsLocked returns the number of waiting items by lane, and reports whether the next item joins its lane later, behind
// a barrier.
func (m *model) lengthsLocked(mq *modelQueue) (length map[string]int, gated bool) {
	length = make(map[string]int)
	for _, x := range mq.waiting {
		for _, k := range x.keys {
			length[k]++
		}
	}
	return length, m.gatedLocked(mq, nil)
}

// put puts an item at the end of a lane.
func (m *model) put(t *rapid.T) {
	mq := m.pick(t)
	x := &modelItem{number: m.next, queue: mq, named: true, keys: []string{rapid.SampledFrom([]string{"", "k1", "k2", "k3"}).Draw(t, "key")}}
	m.next++
	plain := rapid.Bool().Draw(t, "plain")
	m.settle()
	m.mu.Lock()
	length, gated := m.lengthsLocked(mq)
	refused := plain && (gated || slices.ContainsFunc(mq.waiting, func(y *modelItem) bool { return len(y.keys) > 1 && share(x.keys, y.keys) }))
	if !refused {
		mq.gated = mq.gated || gated
		if k := x.keys[0]; !gated && mq.deep > 0 && length[k]+1 > mq.deep {
			mq.deepened[k] = true
		}
		mq.waiting = append(mq.waiting, x)
		mq.submitted++
	}
	m.mu.Unlock()
	if mq.q.Put(x.keys[0], x, plain) == refused {
		t.Fatalf("Put of %q, plain %v: refused %v, want %v", x.keys, plain, !refused, refused)
	}
}

// run is the real executor's Run. It checks that the model allows the turn now.
func (m *model) run(t *Turn[*modelItem]) Result {
	mq, _ := t.Queue.Data().(*modelQueue)
	turn := &modelTurn{queue: mq, result: make(chan modelResult)}
	m.mu.Lock()
	if mq.fenced {
		m.objectLocked("I7: a turn of fenced %v started", mq.id)
	}
	if len(m.running) >= m.limit {
		m.objectLocked("%d turns run, and the limit is %d", len(m.running)+1, m.limit)
	}
	first := *t.Items[0]
	if len(t.Items) > 1 && (len(first.keys) > 1 || first.barrier || len(t.Items) > m.maxTurn || m.single[mq.id][first.keys[0]] > 0) {
		m.objectLocked("a turn has %d items", len(t.Items))
	}
	if n := m.again[mq.id][first.keys[0]]; len(first.keys) == 1 && n > 0 {
		if len(t.Items) != n {
			m.objectLocked("a turn that runs again has %d items, had %d", len(t.Items), n)
		}
		m.again[mq.id][first.keys[0]] = 0
	}
	names, isBarrier := t.Lanes()
	if named := slices.Sorted(slices.Values(names)); first.barrier != isBarrier || !first.named && len(named) > 0 || first.named && !slices.Equal(named, first.keys) {
		m.objectLocked("a turn of %v has the lanes %q, barrier %v", first.keys, names, isBarrier)
	}
	for _, p := range t.Items {
		x := *p
		if x == nil {
			m.objectLocked("a turn has an empty item")
			break
		}
		if why := m.whyNotLocked(x); why != "" {
			m.objectLocked("item %d %v started although %s", x.number, x.keys, why)
		}
		x.turn = turn
		turn.items = append(turn.items, x)
		mq.waiting = slices.DeleteFunc(mq.waiting, func(y *modelItem) bool { return y == x })
	}
	m.running = append(m.running, turn)
	m.mu.Unlock()
	r := modelResult{Result: Result{Done: len(t.Items)}}
	select {
	case r = <-turn.result:
	case <-m.quit:
	}
	t.Await = r.await
	if r.early != nil {
		r.await.Result = *r.early
		if err := m.e.Complete(r.await); err != nil {
			panic(err)
		}
	}
	m.mu.Lock()
	m.running = slices.DeleteFunc(m.running, func(x *modelTurn) bool { return x == turn })
	if r.await == nil {
		m.returnLocked(turn, r.Result)
	} else {
		m.awaitLocked(turn, r)
	}
	m.mu.Unlock()
	if r.goexit {
		turn.items[0].exit = r.Result
		runtime.Goexit()
	}
	return r.Result
}

// whyNotLocked returns why an item may not start, given that the items before it in its turn have started.
func (m *model) whyNotLocked(x *modelItem) string {
	id := x.queue.id
	for _, turn := range m.turnsLocked() {
		for _, y := range turn.items {
			if y.queue.id == id && (x.barrier || y.barrier || share(x.keys, y.keys)) {
				return fmt.Sprintf("item %d %v runs", y.number, y.keys)
			}
		}
	}
	for _, y := range m.unended {
		if y.queue.id == id && (x.barrier || y.barrier || share(x.keys, y.keys)) {
			return fmt.Sprintf("Finish was not told of item %d %v", y.number, y.keys)
		}
	}
	for _, y := range x.queue.waiting {
		if y == x {
			break
		}
		if x.barrier || y.barrier || share(x.keys, y.keys) {
			return fmt.Sprintf("item %d %v is before it", y.number, y.keys)
		}
	}
	for _, k := range x.keys {
		if p := m.park[id][k]; p != nil && !p.over() {
			return fmt.Sprintf("its lane is parked until %v, held %v", p.until, p.held)
		}
	}
	return ""
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(k string) bool { return slices.Contains(b, k) })
}

// turnsLocked returns the running and the waiting turns.
func (m *model) turnsLocked() []*modelTurn { return slices.Concat(m.running, m.awaits) }

// awaitLocked makes a turn wait: done items leave, and items behind the waiting ones go back.
func (m *model) awaitLocked(turn *modelTurn, r modelResult) {
	rest := turn.items[r.Done:]
	held := len(rest)
	if r.await.Items > 0 {
		held = min(r.await.Items, held)
	}
	waits := &modelTurn{items: slices.Clone(rest[:held]), queue: turn.queue, token: r.await}
	m.returnLocked(&modelTurn{items: slices.Concat(turn.items[:r.Done], rest[held:]), queue: turn.queue}, Result{Done: r.Done, Next: max(r.Next, 0)})
	if r.early != nil {
		m.returnLocked(waits, *r.early)
		return
	}
	m.awaits = append(m.awaits, waits)
}

// complete completes the token of a waiting turn.
func (m *model) complete(t *rapid.T) {
	m.settle()
	m.mu.Lock()
	n := len(m.awaits)
	m.mu.Unlock()
	if n == 0 {
		t.Skip("nothing waits")
	}
	turn := m.awaits[rapid.IntRange(0, n-1).Draw(t, "wait")]
	m.completeTurn(turn, m.result(t, len(turn.items)))
	if err := m.e.Complete(turn.token); err == nil {
		t.Fatal("second Complete of a token returned no error")
	}
}

func (m *model) completeTurn(turn *modelTurn, r Result) {
	m.mu.Lock()
	m.awaits = slices.DeleteFunc(m.awaits, func(x *modelTurn) bool { return x == turn })
	m.returnLocked(turn, r)
	m.mu.Unlock()
	turn.token.Result = r
	if err := m.e.Complete(turn.token); err != nil {
		panic(err)
	}
}

func (m *model) returnLocked(turn *modelTurn, r Result) {
	if len(turn.items) == 0 {
		return
	}
	mq := turn.queue
	id := mq.id
	for _, x := range turn.items[:r.Done] {
		x.mayEnd = true
		m.unended = append(m.unended, x)
	}
	mq.finished += int64(r.Done)
	rest := turn.items[r.Done:]
	for i, x := range slices.Backward(rest) {
		_ = i
		if mq.fenced {
			x.mayDrop = true
			mq.dropped++
			continue
		}
		x.turn = nil
		mq.waiting = slices.Insert(mq.waiting, 0, x) // the front is right: all items with its keys come after it
	}
	slices.SortFunc(mq.waiting, func(a, b *modelItem) int { return a.number - b.number })
	keys := turn.items[0].keys
	for _, k := range keys {
		if !mq.fenced {
			m.single[id][k] = max(m.single[id][k]-r.Done, 0)
			if len(keys) == 1 {
				m.single[id][k] = max(m.single[id][k], int(r.Next))
				if n := min(int(-r.Next), len(rest)); n > 1 {
					m.single[id][k], m.again[id][k] = 0, n
				}
			}
			if !m.hasLaneLocked(mq, k) {
				m.single[id][k] = 0
			}
		}
		m.park[id][k] = nil
	}
	if mq.fenced || !r.Hold && r.Park == 0 {
		return
	}
	p := &modelPark{until: time.Now().Add(r.Park), held: r.Hold, timed: r.Park > 0}
	for _, x := range rest {
		if len(x.keys) > 1 {
			x.parked = p
		}
	}
	for _, k := range keys {
		if r.Done == len(turn.items) && len(keys) > 1 {
			p = &modelPark{until: p.until, held: p.held, timed: p.timed} // each lane waits independently
		}
		if m.hasLaneLocked(mq, k) { // an empty lane ends and does not wait
			m.park[id][k] = p
		}
	}
}

func (m *model) finish(q *Queue[*modelItem], items []**modelItem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range items {
		x := *p
		if !x.mayEnd || x.ended > 0 || x.queue.q != q {
			m.objectLocked("Finish was told of item %d: may %v, ended %d", x.number, x.mayEnd, x.ended)
		}
		x.ended++
		m.unended = slices.DeleteFunc(m.unended, func(y *modelItem) bool { return y == x })
	}
}

func (m *model) drop(p **modelItem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := *p
	if !x.mayDrop || x.ended > 0 {
		m.objectLocked("item %d was dropped: may %v, ended %d", x.number, x.mayDrop, x.ended)
	}
	x.ended++
}

func (m *model) end(t *rapid.T) {
	m.mu.Lock()
	n := len(m.running)
	m.mu.Unlock()
	if n == 0 {
		t.Skip("nothing runs")
	}
	turn := m.running[rapid.IntRange(0, n-1).Draw(t, "turn")]
	r := modelResult{goexit: rapid.IntRange(0, 9).Draw(t, "goexit") == 0}
	r.Result = m.result(t, len(turn.items))
	if r.Done < len(turn.items) && rapid.Bool().Draw(t, "await") {
		r.Park, r.Hold, r.Next = 0, false, max(r.Next, 0)
		r.await = &Token[*modelItem]{Items: rapid.IntRange(0, len(turn.items)).Draw(t, "waiting items")}
		if rapid.Bool().Draw(t, "early") {
			n := len(turn.items) - r.Done
			if r.await.Items > 0 {
				n = min(n, r.await.Items)
			}
			early := m.result(t, n)
			r.early = &early
		}
	}
	turn.result <- r
}

// result draws a Result for a turn of n items.
func (m *model) result(t *rapid.T, items int) (r Result) {
	r.Done = items
	switch rapid.IntRange(0, 7).Draw(t, "result") {
	case 0:
		r.Done = rapid.IntRange(0, items).Draw(t, "done")
	case 1:
		r.Done = rapid.IntRange(0, items).Draw(t, "done")
		r.Park = time.Duration(rapid.IntRange(1, 100).Draw(t, "park")) * time.Millisecond
	case 2:
		r.Done = rapid.IntRange(0, items).Draw(t, "done")
		r.Hold = true
		if rapid.Bool().Draw(t, "for a time") {
			r.Park = time.Duration(rapid.IntRange(1, 100).Draw(t, "park")) * time.Millisecond
		}
	case 3:
		r.Done, r.Next = 0, Singly(items)
	case 4:
		r.Done, r.Next = 0, Together(items)
		r.Park = time.Duration(rapid.IntRange(0, 100).Draw(t, "park")) * time.Millisecond
	}
	return r
}

func (m *model) resume(t *rapid.T) {
	mq := m.pick(t)
	m.settle()
	if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
		m.mu.Lock()
		for _, x := range mq.waiting {
			for _, k := range x.keys {
				if p := m.park[mq.id][k]; p != nil && p.held {
					p.held, p.until = false, time.Time{}
				}
			}
		}
		m.mu.Unlock()
		mq.q.ResumeHeld()
		return
	}
	key := rapid.SampledFrom([]string{"", "k1", "k2", "k3", "k4", "k5"}).Draw(t, "key")
	m.mu.Lock()
	p := m.parkOfLocked(mq, key)
	want := p != nil
	if p != nil {
		p.held, p.until = false, time.Time{} // shared by the lanes of an item
	}
	m.mu.Unlock()
	if got := mq.q.Resume(key); got != want {
		t.Fatalf("Resume(%q) = %v, want %v", key, got, want)
	}
}

// parkOfLocked returns the park of a lane that has waiting items and is not due, or nil.
func (m *model) parkOfLocked(mq *modelQueue, key string) *modelPark {
	p := m.park[mq.id][key]
	if p == nil || p.over() {
		return nil
	}
	if m.hasLaneLocked(mq, key) {
		return p
	}
	return nil
}

func (m *model) hasLaneLocked(mq *modelQueue, key string) bool {
	for _, x := range mq.waiting {
		if slices.Contains(x.keys, key) && !m.gatedLocked(mq, x) {
			return true
		}
	}
	return false
}

// gatedLocked reports whether an item waits behind a barrier and so has no lane; with nil, whether the next one will.
func (m *model) gatedLocked(mq *modelQueue, x *modelItem) bool {
	for _, turn := range m.turnsLocked() {
		if turn.queue.id == mq.id && turn.items[0].barrier {
			return true
		}
	}
	for _, y := range mq.waiting {
		if y == x {
			return false
		}
		if y.barrier {
			return true
		}
	}
	return false
}

func (m *model) workers(t *rapid.T) {
	n := rapid.IntRange(1, 6).Draw(t, "workers")
	m.settle()
	m.mu.Lock()
	m.limit = n
	m.mu.Unlock()
	if err := m.e.SetWorkers(n); err != nil {
		t.Fatal(err)
	}
}

func (m *model) fence(t *rapid.T) {
	mq := m.pick(t)
	m.settle()
	m.fenceQueue(mq)
	if mq.q.Put("k1", &modelItem{}, false) {
		t.Fatal("Put to a fenced queue added its item")
	}
	b := mq.q.Batch()
	*b.Add("k1") = &modelItem{}
	if err := mq.q.Submit(b); err == nil || b.Len() != 0 {
		t.Fatalf("Submit to a fenced queue = %v, want ErrFenced", err)
	}
	m.open(mq.id)
}

func (m *model) fenceQueue(mq *modelQueue) {
	m.mu.Lock()
	for _, x := range mq.waiting {
		x.mayDrop = true
		for _, k := range x.keys {
			m.park[mq.id][k], m.single[mq.id][k] = nil, 0
		}
	}
	clear(m.single[mq.id])
	clear(m.again[mq.id])
	clear(m.park[mq.id])
	mq.dropped += int64(len(mq.waiting))
	mq.waiting = nil
	m.mu.Unlock()
	synctest.Wait() // started turns enter Run
	m.mu.Lock()
	mq.fenced = true
	m.mu.Unlock()
	mq.q.Fence(m.drop)
}

// settle lets everything happen that needs no further step of the test.
func (m *model) settle() {
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
}

func (m *model) check(t *rapid.T) {
	m.settle()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mq := range m.queues {
		m.checkCountsLocked(mq)
		m.checkLanesLocked(mq)
		if len(m.running) >= m.limit || mq.fenced {
			continue
		}
		for _, x := range mq.waiting {
			if m.whyNotLocked(x) == "" && m.longReadyLocked(x) {
				m.objectLocked("item %d %v could run, %d of %d workers do: %+v", x.number, x.keys, len(m.running), m.limit, m.e.Stats())
			}
		}
	}
	if len(m.broken) > 0 {
		t.Fatalf("%q", m.broken)
	}
}

func (m *model) longReadyLocked(x *modelItem) bool {
	for _, k := range x.keys {
		if p := m.park[x.queue.id][k]; p != nil && time.Since(p.until) < 5*time.Millisecond {
			return false
		}
	}
	return true
}

// checkCountsLocked checks that every item is counted in exactly the state that it has (I9).
func (m *model) checkCountsLocked(mq *modelQueue) {
	want := Counts{Submitted: mq.submitted, Finished: mq.finished, Dropped: mq.dropped}
	for _, turn := range m.running {
		if turn.queue == mq {
			want.Running += int64(len(turn.items))
		}
	}
	length := make(map[string]int)
	for _, turn := range m.awaits {
		if turn.queue == mq {
			want.Waiting += int64(len(turn.items))
		}
	}
	for _, turn := range m.turnsLocked() {
		for _, x := range turn.items {
			for _, k := range x.keys {
				if turn.queue == mq && !mq.fenced {
					length[k]++
				}
			}
		}
	}
	for _, x := range mq.waiting {
		if m.gatedLocked(mq, x) || x.barrier && !m.aloneLocked(mq, x) {
			want.Ready++
			continue
		}
		p := m.parkOfLocked(mq, x.keys[0])
		if p != nil && (len(x.keys) == 1 || x.parked == p) {
			want.Parked++
		} else {
			want.Ready++
		}
		for _, k := range x.keys {
			length[k]++
		}
	}
	for _, n := range length {
		if n > 2 {
			want.OverShare++
		}
	}
	got := mq.q.Counts()
	if got != want {
		m.objectLocked("%v: counts are %+v, want %+v", mq.id, got, want)
	}
	if got.Submitted != got.Finished+got.Running+got.Waiting+got.Ready+got.Parked+got.Dropped {
		m.objectLocked("I9: counts of %v do not add up: %+v", mq.id, got)
	}
	if err := mq.q.AwaitShare(cancelled()); (err == nil) != (got.OverShare == 0 && !mq.fenced) {
		m.objectLocked("AwaitShare: %v with %+v", err, got)
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (m *model) aloneLocked(mq *modelQueue, b *modelItem) bool {
	for _, turn := range m.turnsLocked() {
		if turn.queue.id == mq.id {
			return false
		}
	}
	return mq.waiting[0] == b
}

func (m *model) checkLanesLocked(mq *modelQueue) {
	running := make(map[string]*modelTurn)
	for _, turn := range m.turnsLocked() {
		if turn.queue.id == mq.id {
			for _, k := range turn.items[0].keys {
				running[k] = turn
			}
		}
	}
	seen := 0
	mq.q.Lanes(func(l Lane[*modelItem]) bool {
		if l.Head == nil {
			m.objectLocked("lane %q has no head: %+v", l.Key, l)
			return true
		}
		key := l.Key
		if l.Unordered {
			key = l.Head.keys[0]
		}
		turn := running[key]
		busy := l.State == Running || l.State == Waiting
		if (turn != nil) != busy || turn != nil && (l.Head != turn.items[0] || (turn.token != nil) != (l.State == Waiting)) {
			m.objectLocked("lane %q is %v, its head %d", key, l.State, l.Head.number)
		}
		if turn != nil && l.EarlierEpoch != (turn.queue != mq || mq.fenced) {
			m.objectLocked("lane %q: earlier epoch %v", key, l.EarlierEpoch)
		}
		if parked := m.parkOfLocked(mq, key) != nil; turn == nil && parked != (l.State == Parked) {
			m.objectLocked("lane %q is %v, parked %v", key, l.State, parked)
		}
		seen++
		return true
	})
	want := make(map[string]bool)
	for k := range running {
		want[k] = true
	}
	for _, x := range mq.waiting {
		if !m.gatedLocked(mq, x) && (!x.barrier || m.aloneLocked(mq, x)) {
			for _, k := range x.keys {
				want[k] = true
			}
		}
	}
	if seen != len(want) {
		m.objectLocked("%d lanes of %v, want %d: %v", seen, mq.id, len(want), want)
	}
}
