package pipeline

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// servers is how many calls of the store for pumps may be under way for a partition.
const servers = 4

// closeBelow is how few records a log must have for its strand to close.
const closeBelow = 32

// wakeLocked makes a server look after a pump that waits, because something has changed that it may wait for.
func (d *divert) wakeLocked(st *strand) {
	st.woken = true
	if st.wait == nil || st.serving || d.cut {
		return
	}
	st.serving = true
	d.serves = append(d.serves, st)
	if d.servers < servers {
		d.servers++
		d.busy.Add(1)
		go d.serve()
	}
}

// serve is a goroutine that makes the calls of the store for the pumps of a partition. It ends when none needs one.
func (d *divert) serve() {
	defer d.pt.gate.poke()
	defer d.busy.Add(-1)
	for {
		d.mu.Lock()
		if len(d.serves) == 0 {
			d.servers--
			d.serves = nil
			d.mu.Unlock()
			return
		}
		st := d.serves[0]
		d.serves = d.serves[1:]
		d.mu.Unlock()
		if wait, r := d.lookAfter(st); wait != nil {
			d.complete(r, wait)
		}
	}
}

// lookAfter does what a pump waits for. It returns the pump's token and the result of its wait; without a token the pump waits
// for something else, which wakes it.
func (d *divert) lookAfter(st *strand) (wait *token, r keyed.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() {
		st.serving = false
		if wait != nil {
			st.wait = nil
		}
	}()
	for st.woken = true; st.woken; {
		st.woken = false
		switch {
		case d.cut:
			return st.wait, keyed.Result{Hold: true}
		case d.strands[st.lane] != st: // it was given up
			return st.wait, keyed.Result{Done: 1}
		case st.converts: // its message is on the way to the log
		case st.held && !st.saved:
			d.saveHoldLocked(st)
		case st.held && st.undated:
			d.dateLocked(st)
		case st.held, st.left() > 0 && st.inFlight() < maxFlights:
			return st.wait, keyed.Result{} // the turn of the pump goes on
		case st.again > 0, st.inFlight() >= maxFlights: // smaller offsets than those in the log are on their way to it
		default:
			if r, over := d.fillLocked(st); over {
				return st.wait, r
			}
		}
	}
	if d.cut {
		return st.wait, keyed.Result{Hold: true}
	}
	return nil, keyed.Result{}
}

// saveHoldLocked tells the store that a strand is held.
func (d *divert) saveHoldLocked(st *strand) {
	m := spill.Mark{Key: st.lane, Through: -1, Change: spill.Hold, Reason: st.why}
	d.mu.Unlock()
	err := d.save(d.reads, m)
	d.mu.Lock()
	st.saved = st.saved || err == nil
	d.retryLocked(err)
	st.woken = true
}

// dateLocked reads when the first record of a held strand was fetched: its records are not loaded, and an operator looks at its age.
func (d *divert) dateLocked(st *strand) {
	ms, _, err := d.readLocked(st, st.done, spill.Size{Messages: 1})
	d.retryLocked(err)
	if len(ms) > 0 {
		st.oldest = ms[0].Fetched.UnixNano()
	}
	st.undated, st.woken = err != nil, true
}

// fillLocked loads the next records of a strand. If there are none and none will come, it removes the strand. over is false if
// the pump has to wait for something else.
func (d *divert) fillLocked(st *strand) (r keyed.Result, over bool) {
	w := st.draining()
	want := max(1, w.again, w.together)
	room := d.p.diverts.take(budget.Usage{Messages: max(want, d.p.cfg.limits.FetchMessages), Bytes: d.p.cfg.limits.FetchBytes})
	pooled := room.Messages > 0
	if !pooled && len(w.flights) > 0 {
		return r, false // until they have landed
	}
	limit := spill.Size{Messages: max(want, room.Messages), Bytes: max(1, room.Bytes)}
	if want > 1 { // the same batch again
		limit.Bytes = max(limit.Bytes, d.p.cfg.limits.MaxBatchBytes)
	}
	closing, appending, after := st.closing, st.appending, w.passed
	ms, keyErr, err := d.readLocked(st, after, limit)
	used := budget.Usage{}
	for i := range ms {
		used = used.Plus(budget.Usage{Messages: 1, Bytes: ms[i].Size()})
	}
	if pooled {
		d.p.diverts.give(budget.Usage{Messages: room.Messages - used.Messages, Bytes: room.Bytes - used.Bytes})
	}
	if err != nil {
		d.retryLocked(err)
		st.woken = true
	}
	if err != nil || st.again > 0 { // a message was set aside meanwhile, and some of these may be behind it
		if pooled {
			d.p.diverts.give(used)
		}
		st.rest()
		return r, false
	}
	if len(ms) < closeBelow && (len(ms) == 0 || st.records < closeBelow) && st.appending == 0 && st.committed && !st.closing {
		st.closing, st.woken = true, true
	}
	switch {
	case len(ms) > 0:
		w.load(ms, pooled)
		if keyErr != nil {
			d.pt.keyErrors.Store(w.items[0].number, keyErr)
			w.items[0].marks |= unkeyed
		}
		st.oldest, st.undated = ms[0].Fetched.UnixNano(), false
		return r, true
	case !st.committed || st.covered != st.settles: // else messages that were settled out of order could come again alone
		d.wanted.Store(true)
	case closing && appending == 0 && st.appending == 0 && len(w.flights) == 0:
		return d.removeWhenEmptyLocked(st)
	}
	st.rest()
	return r, false
}

// readLocked reads the records of a strand after an offset. For a message without order it calls the key function again, which
// may have failed. It unlocks meanwhile.
func (d *divert) readLocked(st *strand, after int64, limit spill.Size) (ms []keystrand.Message, keyErr, err error) {
	d.mu.Unlock()
	defer d.mu.Lock()
	defer d.p.calls.begin("Read" + d.of)()
	ms, err = d.log.Read(d.reads, st.lane, after, limit)
	d.told(d.reads, opRead, err)
	if err == nil && len(ms) > 0 && st.isUnordered() {
		_, keyErr = d.p.keyOf(&ms[0])
		keyErr = readable(keyErr)
	}
	return ms, keyErr, err
}

// removeWhenEmptyLocked removes a strand, whose log is empty and stays so, from the store. The lane goes on after that is
// durable.
func (d *divert) removeWhenEmptyLocked(st *strand) (keyed.Result, bool) {
	if d.marking { // a mark that lands after the removal could be taken for one of the key's next strand
		d.afterMarks = append(d.afterMarks, st)
		return keyed.Result{}, false
	}
	st.removing = true
	m := spill.Mark{Key: st.lane, Through: st.done, Change: spill.Remove}
	d.mu.Unlock()
	err := d.save(d.reads, m)
	d.mu.Lock()
	st.removing = false
	switch {
	case errors.Is(err, spill.ErrRecordsLeft): // read again
		st.woken = true
		return keyed.Result{}, false
	case err != nil:
		d.retryLocked(err)
		st.woken = true
		return keyed.Result{}, false
	}
	d.removeLocked(st)
	direct := d.p.report.add(d.pt, Event{Kind: EventDirect, Key: keystrand.Lane(st.lane).String()})
	d.mu.Unlock()
	d.p.report.line(d.pt, direct)
	d.mu.Lock()
	return keyed.Result{Done: 1}, true
}

// save calls Save of the store.
func (d *divert) save(ctx context.Context, ms ...spill.Mark) error {
	defer d.p.calls.begin("Save" + d.of)()
	err := d.log.Save(ctx, ms)
	d.told(ctx, opSave, err)
	return err
}

// retryLocked waits after an error of a call for a pump, before the next call. It unlocks meanwhile.
func (d *divert) retryLocked(err error) {
	if err == nil {
		return
	}
	d.mu.Unlock()
	defer d.mu.Lock()
	if d.final(err) {
		<-d.reads.Done()
		return
	}
	_ = pause.For(d.reads, storePause) // the caller looks whether the reads have ended
}
