package pipeline

import (
	"math"
	"strconv"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// strand is a diverted key of a partition. Its log is the part of the store that belongs to it, and its pump is the item in
// its lane that stands for the log. Guarded by divert.mu.
type strand struct {
	lane     string
	from     int64 // smallest offset that belongs to the log
	restored int64 // largest offset that the log had when this epoch began; -1 if the strand began in it, or is foreign
	high     int64 // largest offset that the log has had
	done     int64 // handled through here, with durable outputs
	marked   int64 // the same, in the store

	records, bytes int64  // of the log, not handled
	oldest         int64  // when the first of these was fetched, in ns since 1970; 0 if there is none
	undated        bool   // oldest is the time when the strand began, before the first of these may have been fetched
	number         int32  // in its partition, from 1; 0 until it has a pump
	appending      int32  // records on their way to the log
	again          int32  // of these: at or below restored
	settles        int32  // how often a message of the key was settled without its lane
	covered        int32  // settles at the last stored commit that has all of them
	why            string // why it is held, or what the last attempt returned; at most 1 KiB

	placed    bool // its pump is in the lane
	mixed     bool // items of several lanes, or a barrier, were before the pump when it was put
	converts  bool // the lane may have items that belong to the log
	headed    bool // the pump has reached the head of the lane
	begun     bool // every message of the key below from is settled
	committed bool // a commit of that is stored: marks may be saved, and the strand removed
	removing  bool // the store is being told that it is removed
	closing   bool // what comes now waits in the lane, behind the pump
	sealed    bool // what waits there cannot join the log
	held      bool
	saved     bool     // the store knows that it is held
	parked    bool     // the pump waits for an operator
	operated  bool     // an operator works on it
	asked     *discard // what the store may have discarded: an operator's call that failed; nil if there is none
	foreign   bool     // its records belong to another log of the source
	inherited bool     // an earlier owner saved a mark, and so had settled every message of the key below from
	serving   bool     // a server looks after it
	woken     bool     // something has changed since the server has looked

	otherLog string    // the log of the source that a foreign one belongs to
	drain    *draining // nil unless records are being handled
	wait     *token    // the pump waits for a server; nil if it does not
}

// draining is what a strand has while its records are handled. Guarded by divert.mu, but for the items of a running turn.
type draining struct {
	passed  int64 // given to the handler, or on the way to a sink, through here
	items   []item
	turn    []*item  // the items
	at      int      // the first item that is not passed
	pooled  bool     // the items count in the pool of windows
	flights []flight // of records that have left for a sink, those before which one has, and those of the running turn
	running int      // how many of them, the last ones, are of the running turn

	attempt  int32   // of the first records, which are handled again
	again    int     // how many these are
	marks    marks   // of the first record
	noted    []int64 // numbers of these whose errors the partition keeps, while they are not loaded
	blocks   uint8
	single   int // this many records are handled one a turn
	together int // this many records are the next turn; 0: as many as fit
}

// flight is a record that is with the handler or on the way to a sink, or one behind such a record.
type flight struct {
	offset int64
	size   int
	over   bool // it is handled, and its outputs are durable
	pooled bool
}

// pumpNumber is the number of a pump. Records have the complement of their offset, so all are negative, which numbers of
// the tracker never are.
const pumpNumber = -1 << 63

func (it *item) isPump() bool   { return it.number == pumpNumber }
func (it *item) isRecord() bool { return it.number < 0 && it.number != pumpNumber }

// unorderedPrefix begins the names of the strands of messages without order. The offset follows.
const unorderedPrefix = "\x00keystrand offset "

func unorderedLane(offset int64) string { return unorderedPrefix + strconv.FormatInt(offset, 10) }

// isUnordered reports whether a lane has such a name. A key that has one is never diverted: its strand could be taken for that of
// a message without order.
func isUnordered(lane string) bool { return strings.HasPrefix(lane, unorderedPrefix) }

func (st *strand) isUnordered() bool { return isUnordered(st.lane) }

// settledBefore reports whether an earlier owner settled a message of the key that does not belong to the log. A commit that
// says so may have been followed by one that could express less.
func (st *strand) settledBefore(offset int64) bool { return st.inherited && offset < st.from }

// dueAt returns the position at which the pump of a restored strand is put.
func (st *strand) dueAt() int64 {
	if st.foreign {
		return math.MinInt64
	}
	return max(st.restored+1, st.from)
}

// draining returns drain, and makes it if there is none.
func (st *strand) draining() *draining {
	if st.drain == nil {
		st.drain = &draining{passed: st.done}
	}
	return st.drain
}

// rest drops what only an active strand needs.
func (st *strand) rest() {
	if d := st.drain; d != nil && d.items == nil && len(d.flights) == 0 && d.again == 0 && d.single == 0 {
		st.drain = nil
	}
}

// inFlight returns how many records are on the way to a sink.
func (st *strand) inFlight() int {
	if st.drain == nil {
		return 0
	}
	return len(st.drain.flights)
}

// left returns how many loaded records are not passed.
func (st *strand) left() int {
	if st.drain == nil {
		return 0
	}
	return len(st.drain.items) - st.drain.at
}

// load sets the records that were read.
func (w *draining) load(ms []keystrand.Message, pooled bool) {
	w.items, w.turn, w.at, w.pooled = make([]item, len(ms)), make([]*item, len(ms)), 0, pooled
	w.noted = nil // the marks of the items have it
	for i := range ms {
		it := &w.items[i]
		it.Message, it.number, it.marks = ms[i], ^ms[i].Offset, cloned
		it.size = uint32(min(int64(ms[i].Size()), math.MaxUint32)) //nolint:gosec // it fits
		if i < w.again {
			it.Attempt = w.attempt
			it.marks |= w.marks & erred
		}
		w.turn[i] = it
	}
	if w.again > 0 && len(ms) > 0 {
		w.items[0].marks |= w.marks
		w.items[0].blocks = w.blocks
	}
}

// unload drops the records that are not passed, and remembers the attempts of the first n. It returns their usage.
func (w *draining) unload(pt *partition, n int) (u budget.Usage) {
	rest := w.items[w.at:]
	w.again, w.attempt, w.marks, w.blocks = 0, 0, 0, 0
	if len(rest) > 0 && (rest[0].Attempt > 0 || rest[0].marks&^cloned != 0) {
		w.again, w.attempt, w.marks, w.blocks = min(n, len(rest)), rest[0].Attempt, rest[0].marks&(blocked|erred), rest[0].blocks
	}
	for i := range rest {
		it := &rest[i]
		u = u.Plus(it.usage())
		if i < w.again && it.marks.has(erred) {
			w.noted = append(w.noted, it.number)
			it.marks &^= erred
		}
		pt.forget(it)
	}
	w.items, w.turn, w.at = nil, nil, 0
	if !w.pooled {
		return budget.Usage{}
	}
	return u
}

// state returns the state for a snapshot.
func (st *strand) state() StrandState {
	switch {
	case st.held:
		return StrandHeld
	case st.closing:
		return StrandClosing
	case !st.headed:
		return StrandDiverting
	}
	return StrandDiverted
}
