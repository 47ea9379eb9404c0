package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/middleware/spill"
)

// divert has the diverted keys of one ownership of a partition. The lane keeps the order of a key; the store only keeps what
// does not fit. A diverted key's lane has the messages from before it was diverted, then its pump. A turn of the pump handles
// the next records of the log, and the pump stays in the lane until the log is empty.
//
// Lock order: mu, then the lock of the executor. No call of the store, of a handler or of Finish, and no poke of the gate,
// has mu held.
type divert struct {
	p       *Pipeline
	pt      *partition
	of      string          // " of the store for" the partition
	log     spill.Log       // nil until the store is opened, before the first fetch
	reads   context.Context //nolint:containedctx // of all calls but Append; ends with the fence
	appends context.Context //nolint:containedctx // of Append; ends with the drain
	noReads func()
	saves   context.Context //nolint:containedctx // of marks; ends with the release of a partition that is lost
	noMore  func()          // ends appends
	noSaves func()

	converting atomic.Int32 // strands with converts set
	waiting    atomic.Int32 // messages that wait for an Append
	strung     atomic.Int32 // strands
	unplaced   atomic.Int32 // of these: without a pump
	busy       atomic.Int32 // goroutines of the appender and the servers, and the one that saves marks
	wanted     atomic.Bool  // a pump waits for a commit
	atEnd      atomic.Bool  // flow has reached the end of a finite partition

	mu         sync.Mutex
	strands    map[string]*strand
	due        []*strand // restored strands by the position at which their pumps are put
	numbers    int32     // of the last strand that has got a pump
	held       int
	unordered  int // strands of messages without order
	position   int64
	cut        bool     // the partition is fenced
	gone       bool     // outputs may have been dropped: no further strand has begun
	queue      []ticket // to be appended, in order
	appender   bool     // its goroutine runs
	flying     []ticket // in the Append under way
	aside      []ticket // that the store can never keep, and whose keys wait
	records    []spill.Record
	serves     []*strand // to be served
	servers    int
	settling   bool      // submit is about to settle messages that an earlier owner handled
	marking    bool      // marks are being saved
	afterMarks []*strand // to be removed after that
	closed     bool      // no marks are saved any more
	trouble    trouble
	totals     DivertSnapshot // only the totals

	placed []placement // scratch of submit; used by flow alone
}

// newDivert returns the divert of a partition, or nil if the pipeline has no store.
func newDivert(p *Pipeline, pt *partition) *divert {
	if p.cfg.store == nil {
		return nil
	}
	d := &divert{p: p, pt: pt, strands: map[string]*strand{}, of: " of the store for " + pt.id.String(), position: pt.tracker.State().Position}
	d.reads, d.noReads = context.WithCancel(context.WithoutCancel(pt.ctx))
	d.appends, d.noMore = context.WithCancel(context.WithoutCancel(pt.ctx))
	d.saves, d.noSaves = context.WithCancel(context.WithoutCancel(pt.ctx))
	return d
}

// beginLocked diverts a key that has too many messages in its lane. What it gets from now on goes to the log.
func (d *divert) beginLocked(lane string, r *routed) {
	if d.strands[lane] != nil || d.p.diverts.full.Load() || isUnordered(lane) {
		return
	}
	st := &strand{lane: lane, from: d.position, restored: -1, high: -1, done: -1, marked: -1}
	if !d.putLocked(st) {
		return
	}
	d.addLocked(st)
	r.began = append(r.began, d.p.report.add(d.pt, Event{Kind: EventDiverted, Key: keystrand.Lane(lane).String()}))
}

func (d *divert) addLocked(st *strand) {
	d.strands[st.lane] = st
	d.strung.Store(int32(len(d.strands))) //nolint:gosec // there are fewer
	if st.isUnordered() {
		d.unordered++
	}
	if st.held {
		d.held++
	}
	if !st.placed {
		d.unplaced.Add(1)
	}
}

func (d *divert) removeLocked(st *strand) {
	delete(d.strands, st.lane)
	d.strung.Store(int32(len(d.strands))) //nolint:gosec // there are fewer
	if st.isUnordered() {
		d.unordered--
	}
	if st.held {
		d.held--
	}
	if !st.placed {
		d.unplaced.Add(-1)
	}
	d.convertedLocked(st)
	d.p.diverts.add(-st.bytes)
	st.bytes = 0
}

// putLocked puts the pump of a strand at the end of its lane. It returns false if the partition is fenced.
func (d *divert) putLocked(st *strand) bool {
	pump := d.pumpOf(st)
	st.mixed = false
	if !d.pt.queue.Put(st.lane, pump, true) {
		st.mixed = true
		if !d.pt.queue.Put(st.lane, pump, false) {
			return false
		}
	}
	if !st.placed && d.strands[st.lane] == st {
		d.unplaced.Add(-1)
	}
	st.placed, st.headed = true, false
	return true
}

// pumpOf returns a pump of a strand. Its Attempt is the number of the strand: a pump of one that was given up may still be in a
// lane whose key has another.
func (d *divert) pumpOf(st *strand) item {
	if st.number == 0 {
		d.numbers++
		st.number = d.numbers
	}
	pump := item{number: pumpNumber, marks: pumping | cloned}
	pump.Attempt = st.number
	pump.Stream, pump.Partition, pump.Epoch = d.pt.id.Stream, d.pt.id.Partition, d.pt.id.Epoch
	pump.Offset, pump.Fetched = st.from, time.Now()
	return pump
}

// placeLocked puts the pumps of restored strands whose part of the partition has been fetched again. Before that, neither the
// messages below from nor those that a crash kept out of the log are all there.
func (d *divert) placeLocked() {
	n := 0
	for n < len(d.due) && (d.atEnd.Load() || d.due[n].dueAt() <= d.position) {
		if st := d.due[n]; !st.placed && d.strands[st.lane] == st {
			d.putLocked(st)
		}
		n++
	}
	if d.due = d.due[n:]; len(d.due) == 0 {
		d.due = nil
	}
}

// ofKeyLocked returns the strand of the lane of a key, or nil.
func (d *divert) ofKeyLocked(lane string) *strand {
	if isUnordered(lane) {
		return nil
	}
	return d.strands[lane]
}

// ends places all pumps: flow has reached the end of a finite partition.
func (d *divert) ends() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.atEnd.Store(true)
	d.placeLocked()
}

// rested reports whether nothing is left to handle but what is held.
func (d *divert) rested() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.strands) != d.held {
		return false
	}
	for _, st := range d.strands {
		if !st.saved {
			return false
		}
	}
	return true
}

// hasRoom reports whether the partition may fetch as far as its store is concerned.
func (d *divert) hasRoom() bool {
	if int(d.waiting.Load()) >= d.p.cfg.limits.KeyShare {
		return false
	}
	// A restored strand gets its pump once its part of the partition has been fetched again: nothing drains before that.
	return d.strung.Load() == 0 || d.unplaced.Load() > 0 || !d.p.diverts.full.Load()
}

// quiet reports whether no call of the store is under way.
func (d *divert) quiet() bool { return d.busy.Load() == 0 }

// fence stops everything but the Append under way and the turns that run. It drops the messages that wait for an Append: they
// come again.
func (d *divert) fence() {
	d.noReads()
	d.mu.Lock()
	d.cut = true
	queue := append(d.queue, d.aside...)
	d.queue, d.aside = nil, nil
	var waits []*token
	for _, st := range d.strands {
		if st.wait != nil { // a call that is made for it may never return
			waits = append(waits, st.wait)
			st.wait = nil
		}
	}
	d.mu.Unlock()
	d.drop(queue)
	d.complete(keyed.Result{Hold: true}, waits...)
}

// cutOff ends the Append under way. It is called before outputs are dropped: from then on a lane without outputs on the way may
// have messages that are not settled.
func (d *divert) cutOff() {
	d.begin()
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	d.noMore()
}

func (d *divert) complete(r keyed.Result, waits ...*token) {
	if len(waits) == 0 {
		return
	}
	for _, w := range waits {
		w.Result = r
	}
	if err := d.p.exec.Complete(waits...); err != nil {
		d.p.log.Error("a lane was completed twice; please report this bug", slog.Any("error", err))
	}
}
