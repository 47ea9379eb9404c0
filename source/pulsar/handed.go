package pulsar

import (
	"fmt"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
)

// handed knows what was handed out in one ownership and is not acknowledged yet, and decides what may be acknowledged.
//
// Acknowledgements are never sent in a way after whose loss, whole or in part, a message could come again while a later one
// of its key does not. A later message of a key is settled only when the earlier ones are, so it is enough that nothing is
// acknowledged above a batch that is settled in part (its settled messages come again, and with them everything
// above), that what is sent together is one request, and that a request that did not fit into one is
// sent from below, each part only after the one before was confirmed.
//
// Cumulative acknowledgements are not used. They would cover entries that were never handed out: the first chunks of a
// message whose last chunk is not there yet, which would then be lost with it. An entry takes about 20 bytes of a
// request, and one that ends a gap lets the broker move its cursor just as well.
//
// Nothing comes twice in one ownership, since none outlives its connection: what was handed out, and everything at or below
// it, is unknown when it comes.
//
// It is safe for concurrent use: Fetch adds, the acker asks.
type handed struct {
	mu      sync.Mutex
	opener  opener
	entries []entry          // ascending
	spent   int              // of them are acknowledged
	highest position         // of what has come
	next    int64            // offset after it
	any     bool             // there is a highest
	settled *commit.Progress // the last one that was committed
	replays int64            // settled messages that a crash would hand out again
	unacked int64            // lowest offset of those; valid if replays > 0
}

// opener is what the first requests of an ownership are about. A broker that has loaded a topic makes the ledger of a cursor
// when the first acknowledgement comes. When it unloads the topic before that is there, it can forget how far the cursor has
// moved, and with that all that was acknowledged up to there, and keep what was acknowledged above: earlier messages of a
// key come again without later ones. So these requests move the cursor, or acknowledge above it, and not both, nor do they
// move it over what an earlier owner has acknowledged.
type opener uint8

const (
	undecided opener = iota
	moves            // what is settled from the first entry on; the first entry is
	ahead            // what is settled above the first entry, which is not
)

// verdict is what to do with a message that has come.
type verdict uint8

const (
	fresh   verdict = iota // hand it out
	strange                // it is at or below what was handed out
	remade                 // it is above, and its offset below: the topic was made again
)

func newHanded(restored *commit.Progress) *handed { return &handed{settled: restored} }

// take notes that a message has come, and says what to do with it.
func (h *handed) take(id pulsar.MessageID, offset int64) verdict {
	at := positionOf(id)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.any && at.compare(h.highest) <= 0:
		return strange
	case h.any && offset < h.next:
		return remade
	}
	h.highest, h.next, h.any = at, offset+1, true
	if n := len(h.entries); n > 0 {
		last := &h.entries[n-1]
		if last.ledger == at.ledger && last.entry == at.entry && !last.single {
			last.add(at.batch, id)
			return fresh
		}
		last.closed = true
	}
	e := newEntry(at, id, offset)
	e.add(at.batch, id)
	h.entries = append(h.entries, e)
	return fresh
}

// request is one acknowledgement request. It acknowledges whole entries.
type request struct {
	ids     []pulsar.MessageID
	indexes []int // of the same entries, valid until the next confirm
	more    bool  // some entries did not fit
	held    bool  // some entries have to wait: the ownership is too young
}

// plan returns the entries that p lets acknowledge now, at most limit, in ascending order. It does not mark them as
// acknowledged: confirm does. young: the broker may not have a ledger for the cursor yet. It walks the entries and the ranges ahead
// once, and ends when the request is full: Fetch waits for it.
func (h *handed) plan(p *commit.Progress, limit int, young bool) request {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = p
	var q request
	h.replays = 0
	r, first, half, held := 0, true, false, false
	opener := h.opener
	for i := 0; i < len(h.entries) && !q.more; i++ {
		e := &h.entries[i]
		if e.acked {
			continue
		}
		s, settled := e.settled(p, &r)
		full := s == all
		whole := full && e.closed
		if young && first {
			if opener == undecided && full {
				opener = moves
			} else if opener == undecided {
				opener = ahead
			}
			held = opener == ahead && full
		}
		first = false
		// In a gap behind an entry, or within one that has come in part, is what an earlier owner has acknowledged; within one,
		// another program. Such an entry opens where nothing else can. (Behind the last that has come may be such, too; but
		// waiting for it would delay every hand-over.)
		gap := i+1 < len(h.entries) && !e.adjoins(&h.entries[i+1])
		last := young && opener == moves && (!whole || !e.complete() || gap)
		opens := full && h.opener == undecided && len(q.ids) == 0
		held = held || last && !opens
		switch {
		case s == none:
			continue
		case half:
			h.unsent(e, settled)
			continue
		case held && whole:
			q.held = true
			h.unsent(e, settled)
		case whole:
			if q.more = len(q.ids) >= limit; !q.more {
				q.ids, q.indexes = append(q.ids, e.whole()), append(q.indexes, i)
			}
			held = held || last
		default:
			half = true
			h.unsent(e, settled)
		}
	}
	if len(q.ids) > 0 {
		h.opener = opener // even if its answer never comes
	}
	return q
}

// unsent counts messages that are settled and not acknowledged.
func (h *handed) unsent(e *entry, settled int32) {
	if h.replays == 0 {
		h.unacked = e.lowest()
	}
	h.replays += int64(settled)
}

// lowest returns the lowest offset handed out.
func (e *entry) lowest() int64 {
	if e.single {
		return e.base
	}
	for i := range e.size {
		if e.has(i) {
			return e.base + int64(i)
		}
	}
	return e.base
}

// confirm records that the broker has confirmed a request. It also drops acknowledged entries between unacknowledged ones,
// so that a blocked key does not keep everything behind it in memory. It walks all entries only when half of them can go.
func (h *handed) confirm(q request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range q.indexes {
		h.entries[i].acked = true
	}
	h.spent += len(q.indexes)
	if 2*h.spent < len(h.entries) {
		return
	}
	kept, last := h.entries[:0], len(h.entries)-1
	h.spent = 0
	for i, e := range h.entries {
		if e.acked && i < last {
			continue
		}
		kept = append(kept, e) // the last one stays: more of it may come
		if e.acked {
			h.spent++
		}
	}
	clear(h.entries[len(kept):])
	h.entries = kept
}

// stored says what a crash now would hand out again of p, everything planned having been confirmed.
func (h *handed) stored(p *commit.Progress) commit.Stored {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.replays == 0 {
		return commit.Stored{Frontier: p.Frontier}
	}
	return commit.Stored{Frontier: min(p.Frontier, h.unacked), Replays: h.replays}
}

// progress returns the last progress that was planned with.
func (h *handed) progress() *commit.Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.settled
}

// brought tells whether anything has come.
func (h *handed) brought() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.any
}

// String is for the errors of tests.
func (q request) String() string { return fmt.Sprint(q.ids) }
