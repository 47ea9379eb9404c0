package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// An Append has at most so many records and bytes.
const (
	appendMessages = 1000
	appendBytes    = 4 << 20
)

// storePause is the pause after a call of the store that failed.
const storePause = 200 * time.Millisecond

// ticket is a message on its way to the log of its key. It completes as the output of a sink does: when it is durable, it is
// settled, or the lane that waits for it goes on.
type ticket struct {
	m      keystrand.Message
	number int64
	size   budget.Usage
	st     *strand
	wait   *token // of the lane of a message that failed, or that came before one; nil for a message that never was in a lane
	why    string // the store can never keep it, once it is set aside; at most 1 KiB
}

// appendLocked queues a message for the log of its key.
func (d *divert) appendLocked(st *strand, m *keystrand.Message, number int64, size budget.Usage, wait *token) {
	st.appending++
	st.settles++
	if m.Offset <= st.restored {
		st.again++
	}
	if wait == nil {
		d.waiting.Add(1)
	}
	x := ticket{m: *m, number: number, size: size, st: st, wait: wait}
	if d.trouble.err != nil { // it may wait long
		own(&x.m)
	}
	d.queue = append(d.queue, x)
	if !d.appender {
		d.appender = true
		d.busy.Add(1)
		go d.appendAll()
	}
}

// appendAll is the goroutine of the appender. It ends when the queue is empty. All that is queued while an Append is under way
// goes into the next one.
func (d *divert) appendAll() {
	defer d.pt.gate.poke()
	defer d.busy.Add(-1)
	for {
		rs := d.takeTickets()
		if len(rs) == 0 {
			return
		}
		end := d.p.calls.begin("Append" + d.of)
		err := d.log.Append(d.appends, rs)
		end()
		clear(rs)
		d.told(d.appends, opAppend, err)
		if err == nil {
			d.appended()
			continue
		}
		if x, ok := errors.AsType[*spill.RecordError](err); ok && x.Record >= 0 && x.Record < len(rs) {
			d.unstorable(x)
			continue
		}
		if final := d.final(err); final || pause.For(d.appends, storePause) != nil {
			d.mu.Lock()
			flying := d.flying
			d.flying, d.cut, d.appender = nil, true, false
			d.mu.Unlock()
			d.drop(flying)
			d.fence()
			return
		}
		d.mu.Lock()
		d.queue, d.flying = append(d.flying, d.queue...), nil
		d.mu.Unlock()
	}
}

// takeTickets takes the next records from the queue. It returns none if the queue is empty, or dropped by the fence.
func (d *divert) takeTickets() []spill.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(d.queue), appendMessages) && (n == 0 || bytes+d.queue[n].size.Bytes <= appendBytes) {
		bytes += d.queue[n].size.Bytes
		n++
	}
	d.flying = append(d.flying[:0], d.queue[:n]...)
	if d.queue = slices.Delete(d.queue, 0, n); len(d.queue) == 0 && cap(d.queue) > appendMessages {
		d.queue = nil
	}
	d.records = d.records[:0]
	for i := range d.flying {
		x := &d.flying[i]
		r := spill.Record{Key: x.st.lane, From: min(x.st.from, x.m.Offset), Message: x.m}
		if x.wait != nil && x.st.held && !x.st.saved {
			r.Hold, r.Reason = true, x.st.why
		}
		d.records = append(d.records, r)
	}
	if n == 0 {
		d.flying, d.records, d.appender = nil, nil, false
	}
	return d.records
}

// appended settles the messages of an Append that are durable now.
func (d *divert) appended() {
	var numbers []int64
	var size budget.Usage
	var waits []*token
	d.mu.Lock()
	for i := range d.flying {
		x := &d.flying[i]
		st := x.st
		st.high = max(st.high, x.m.Offset)
		if x.m.Offset > st.restored {
			d.countLocked(st, &x.m)
		}
		d.evenLocked(st)
		if x.wait != nil {
			st.saved = st.saved || st.held
			waits = append(waits, x.wait)
		} else {
			d.waiting.Add(-1)
			numbers = append(numbers, x.number)
			size = size.Plus(x.size)
		}
	}
	d.mu.Unlock()
	d.p.left(d.pt, numbers, size, true)
	d.complete(keyed.Result{Done: 1}, waits...)
	d.mu.Lock()
	for i := range d.flying {
		x := &d.flying[i]
		st := x.st
		st.appending--
		if x.m.Offset <= st.restored {
			st.again--
		}
		if x.wait != nil && st.isUnordered() { // its lane had nothing else
			d.convertedLocked(st)
		}
		d.wakeLocked(st)
	}
	clear(d.flying)
	d.flying = d.flying[:0]
	d.mu.Unlock()
	d.pt.gate.poke()
}

// countLocked counts a record that was appended.
func (d *divert) countLocked(st *strand, m *keystrand.Message) {
	bytes := int64(m.Size())
	st.records, st.bytes = st.records+1, st.bytes+bytes
	if st.oldest == 0 {
		st.oldest = m.Fetched.UnixNano()
	}
	d.totals.Appended++
	d.totals.Records, d.totals.Bytes = d.totals.Records+1, d.totals.Bytes+bytes
	d.p.diverts.add(bytes)
}

// drop gives up messages that wait for an Append: they come again.
func (d *divert) drop(tickets []ticket) {
	var waits []*token
	n := int64(0)
	for i := range tickets {
		if x := &tickets[i]; x.wait != nil {
			waits = append(waits, x.wait)
		} else {
			n++
			d.waiting.Add(-1)
		}
	}
	d.pt.dropped.Add(n)
	d.complete(keyed.Result{Hold: true}, waits...)
}

// unstorable goes on without a record that the store can never keep. Append has stored nothing. If other messages of the key
// are in the store, or one of several lanes is behind it, the record is set aside: the key waits, since nothing can be handled
// in its place.
func (d *divert) unstorable(refused *spill.RecordError) {
	d.mu.Lock()
	if d.cut { // the fence has dropped the queue
		flying := d.flying
		d.flying = nil
		d.mu.Unlock()
		d.drop(flying)
		return
	}
	x := d.flying[refused.Record]
	d.queue, d.flying = append(d.flying, d.queue...), nil
	st, became := x.st, "kept in memory"
	var blocked, wait *token // of its lane; of the pump of a strand that is given up
	switch {
	case x.wait == nil && (x.m.Offset <= st.restored || st.closing && !st.sealed), x.wait != nil && (x.m.Offset > st.from || st.begun && st.records > 0):
		became = "key waits, since " + reasonOf(x) + ": raise the limit of the store, then restart"
		d.queue = slices.Delete(d.queue, refused.Record, refused.Record+1)
		d.asideLocked(x, refused)
	case x.wait != nil:
		became = "key blocked until Resume, not held"
		d.queue = slices.Delete(d.queue, refused.Record, refused.Record+1)
		st.appending--
		if x.m.Offset <= st.restored {
			st.again--
		}
		st.from = x.m.Offset + 1
		blocked, wait = x.wait, d.unholdLocked(st)
		d.wakeLocked(st)
	default:
		d.returnLocked(st, x.m.Offset)
	}
	d.mu.Unlock()
	d.pt.log().LogAttrs(d.reads, slog.LevelWarn, "message refused by the store", slog.String("became", became),
		slog.String("key", loggedKey(keystrand.Lane(st.lane).String())), slog.Int64("offset", x.m.Offset), loggedError(refused))
	if blocked != nil {
		d.p.report.add(d.pt, Event{Kind: EventBlocked, Key: keystrand.Lane(st.lane).String(), Err: refused})
		d.complete(keyed.Result{Hold: true}, blocked)
	}
	if wait != nil {
		d.complete(keyed.Result{Done: 1}, wait)
	}
}

// reasonOf returns why a message that was refused cannot wait in its lane.
func reasonOf(x ticket) string {
	if x.wait == nil && x.m.Offset > x.st.restored {
		return "a message of several lanes, or a barrier, waits behind this one"
	}
	return "other messages of it are in the store"
}

// asideLocked sets a message aside until the partition is fenced. Its pump hands out no further record meanwhile: those behind it
// have larger offsets.
func (d *divert) asideLocked(x ticket, refused error) {
	own(&x.m)
	if x.m.Offset > x.st.restored {
		x.st.again++
	}
	x.why = cut(textOf(refused), maxErrorText-3)
	if !x.st.held { // else it is why it is held
		x.st.why = x.why
	}
	d.aside = append(d.aside, x)
}

// waitsLocked returns the error of a strand that waits for a message set aside, or nil.
func (d *divert) waitsLocked(st *strand) error {
	for i := range d.aside {
		if x := &d.aside[i]; x.st == st {
			return fmt.Errorf("%w: offset %d: %s: raise the limit of the store, then restart", ErrNotStored, x.m.Offset, x.why)
		}
	}
	return nil
}

// returnLocked puts the messages of a strand, from an offset on, into the lane behind the pump.
func (d *divert) returnLocked(st *strand, from int64) {
	st.closing, st.sealed = true, true
	kept := d.queue[:0]
	for _, t := range d.queue {
		if t.st != st || t.wait != nil || t.m.Offset < from {
			kept = append(kept, t)
			continue
		}
		st.appending--
		d.waiting.Add(-1)
		it := item{Message: t.m, number: t.number, size: uint32(t.size.Bytes)} //nolint:gosec // it was one
		it.unpin()
		if d.pt.queue.Put(st.lane, it, false) {
			d.pt.diverted.Add(-1)
		} else {
			d.pt.dropped.Add(1) // the partition is fenced
		}
	}
	clear(d.queue[len(kept):])
	d.queue = kept
	d.wakeLocked(st)
}
