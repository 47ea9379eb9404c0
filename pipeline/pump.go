package pipeline

import (
	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// maxFlights is how many records of a strand may be on the way to a sink.
const maxFlights = 256

// pump is a turn of a pump: it handles the next records of the log as a turn of the lane handles its items. If none is loaded,
// the lane waits for a server, without a worker.
func (p *Pipeline) pump(pt *partition, t *keyed.Turn[item]) keyed.Result {
	d := pt.divert
	st, r := d.head(t)
	pt.gate.poke() // an operator may wait for it
	if st == nil {
		return r
	}
	ctx := pt.ctx
	if st.foreign { // the handler learns the log that the offsets belong to
		ctx = keystrand.WithLog(ctx, st.otherLog)
	}
	return d.turned(st, t, p.handle(ctx, pt, t))
}

// head puts the next records of the pump's log into the turn. Without records it returns nil and the result of the turn.
func (d *divert) head(t *keyed.Turn[item]) (*strand, keyed.Result) {
	st := d.strandOf(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.cut:
		return nil, keyed.Result{Hold: true}
	case st == nil || d.strands[st.lane] != st || st.number != t.Items[0].Attempt:
		return nil, keyed.Result{Done: 1} // its strand was given up
	}
	if !st.headed {
		st.headed = true
		if !st.isUnordered() { // the message of a strand of an unordered message is in another lane
			d.convertedLocked(st)
		}
	}
	st.parked = st.held && st.saved && !st.undated
	switch {
	case st.parked && st.closing && !st.sealed && !st.isUnordered() && d.reopenLocked(st):
		return nil, keyed.Result{Done: 1}
	case st.parked:
		return nil, keyed.Result{Hold: true}
	case st.held, st.left() == 0, st.inFlight() >= maxFlights:
		st.wait = &token{Items: 1, Note: noteLog}
		t.Await = st.wait
		d.wakeLocked(st)
		return nil, keyed.Result{}
	}
	w := st.drain
	t.Items = w.turn[w.at : w.at+w.next(d.p.cfg)]
	w.running = len(t.Items)
	for _, it := range t.Items { // now, since an output may be durable before the turn has returned
		w.flights = append(w.flights, flight{offset: it.Offset, size: int(it.size), pooled: w.pooled})
	}
	return st, keyed.Result{}
}

// strandOf returns the strand of a pump's turn, or nil.
func (d *divert) strandOf(t *keyed.Turn[item]) *strand {
	lanes, _ := t.Lanes()
	if len(lanes) != 1 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.strands[lanes[0]]
}

// next returns how many records the next turn gets: as many as a turn of a lane would.
func (w *draining) next(c config) int {
	rest := w.turn[w.at:]
	switch {
	case !c.batches || w.single > 0:
		return 1
	case w.together > 0:
		n := min(w.together, len(rest))
		w.together = 0
		return n
	}
	return fitting(rest[:min(len(rest), c.limits.MaxBatch)], c.limits.MaxBatchBytes)
}

// reopenLocked lets a held strand that was closing divert again: the messages that wait behind its pump join the log, and a
// new pump goes behind them. It returns false if a message of several lanes, or a barrier, waits there.
func (d *divert) reopenLocked(st *strand) bool {
	if !d.pt.queue.Put(st.lane, d.pumpOf(st), true) {
		return false
	}
	st.closing, st.converts, st.headed, st.mixed, st.parked = false, true, false, false, false
	d.converting.Add(1)
	return true
}

// turned records what became of the records of a turn, and returns the result for the pump, which stays in its lane.
func (d *divert) turned(st *strand, t *keyed.Turn[item], r keyed.Result) keyed.Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return keyed.Result{Hold: true}
	}
	w, flights := st.drain, st.drain.flights[len(st.drain.flights)-st.drain.running:]
	passed := r.Done
	if t.Await != nil { // the dead letter of the next one is on the way
		passed++
	}
	for i, it := range t.Items[:passed] {
		flights[i].over = flights[i].over || i < r.Done && !it.marks.has(sinking)
		d.pt.forget(it)
		w.passed = it.Offset
	}
	w.at += passed
	w.flights = w.flights[:len(w.flights)-w.running+passed]
	w.running = 0
	if passed > 0 {
		w.attempt, w.again, w.marks, w.blocks = 0, 0, 0, 0
		if !st.held { // else hold has said why
			st.why = ""
		}
	}
	w.single = max(w.single-r.Done, int(r.Next), 0)
	w.together = max(int(-r.Next), 0)
	d.advanceLocked(st)
	waits := r.Park > 0 || r.Hold || t.Await != nil || st.held // no worker is on its way to the rest
	if waits && st.left() > 0 && !st.held {
		st.why = d.pt.lastError(w.turn[w.at])
	}
	if waits && (r.Park == 0 || !w.pooled || !d.p.diverts.ample()) {
		d.p.diverts.give(w.unload(d.pt, max(1, w.together)))
	} else if w.at == len(w.items) {
		w.items, w.turn, w.at, w.again = nil, nil, 0, 0
	}
	st.rest()
	return keyed.Result{Park: r.Park, Hold: r.Hold}
}

// advanceLocked moves done over the records that are handled, in order.
func (d *divert) advanceLocked(st *strand) {
	w := st.drain
	n := 0
	for n < len(w.flights)-w.running && w.flights[n].over { // turned moves it over those of a running turn
		f := w.flights[n]
		st.done = f.offset
		d.takenLocked(st, 1, int64(f.size))
		d.totals.Drained++
		if f.pooled {
			d.p.diverts.give(budget.Usage{Messages: 1, Bytes: f.size})
		}
		n++
	}
	if n == len(w.flights) {
		w.flights = w.flights[:0] // its memory is used again
	} else {
		w.flights = w.flights[n:]
	}
	switch { // else it is the time of one handled since, until more are loaded
	case st.left() > 0:
		st.oldest = w.turn[w.at].Fetched.UnixNano()
	case st.records <= 0:
		st.oldest = 0
	}
}

// takenLocked takes records off the counts of a strand. They may go below zero while an Append is under way: its records can
// be read before it has returned, and are counted after.
func (d *divert) takenLocked(st *strand, n, bytes int64) {
	st.records, st.bytes = st.records-n, st.bytes-bytes
	d.totals.Records, d.totals.Bytes = d.totals.Records-n, d.totals.Bytes-bytes
	d.p.diverts.add(-bytes)
	d.evenLocked(st)
}

// evenLocked lifts counts below zero once no Append is under way: records that an interrupted Append of the owner before has
// stored were counted by nobody.
func (d *divert) evenLocked(st *strand) {
	if st.appending > 0 {
		return
	}
	records, bytes := max(-st.records, 0), max(-st.bytes, 0)
	st.records, st.bytes = st.records+records, st.bytes+bytes
	d.totals.Restored += records
	d.totals.Records, d.totals.Bytes = d.totals.Records+records, d.totals.Bytes+bytes
	d.p.diverts.add(bytes)
}

// landed records that the output or the dead letter of a record is durable.
func (d *divert) landed(lane string, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.strands[lane]
	if st == nil || st.drain == nil || d.closed {
		return
	}
	for i := range st.drain.flights {
		if f := &st.drain.flights[i]; f.offset == offset {
			f.over = true
			break
		}
	}
	d.advanceLocked(st)
	st.rest()
	d.wakeLocked(st)
}
