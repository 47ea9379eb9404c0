package ack

import (
	"fmt"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
)

// pending holds what was delivered in one ownership and is not acknowledged, and plans the requests. It is safe for
// concurrent use: Fetch adds, the acker plans.
type pending struct {
	mu      sync.Mutex
	opener  opener
	entries []entry  // ascending
	spent   int      // acknowledged ones among them
	highest Position // of the messages delivered
	next    int64    // offset after highest
	any     bool     // highest is valid
	replays int64    // settled messages that a crash would replay
	unacked int64    // lowest offset of those; valid if replays > 0
}

// opener says what the first requests of an ownership acknowledge. A broker that has loaded a topic creates the ledger of a
// cursor when the first acknowledgement arrives. If it unloads the topic before the ledger exists, it can forget how far
// the cursor moved, with everything acknowledged below, and keep what was acknowledged above: earlier messages of a key are
// redelivered without later ones. So the first requests either move the cursor or acknowledge above it. They never move it
// over entries that an earlier owner has acknowledged.
type opener uint8

const (
	undecided opener = iota
	moves            // acknowledge settled entries from the first one on
	ahead            // acknowledge settled entries above the first, unsettled one
)

// Verdict says what to do with a message that the library delivers.
type Verdict uint8

// Verdicts about a message.
const (
	Fresh  Verdict = iota // return it from Fetch
	Stale                 // at or below a message delivered before
	Remade                // above it, with a lower offset: the topic was deleted and created again
)

// take records the delivery of a message.
func (l *pending) take(id pulsar.MessageID, offset int64) Verdict {
	at := PositionOf(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.any && at.Compare(l.highest) <= 0:
		return Stale
	case l.any && offset < l.next:
		return Remade
	}
	l.highest, l.next, l.any = at, offset+1, true
	if n := len(l.entries); n > 0 {
		last := &l.entries[n-1]
		if last.ledger == at.Ledger && last.entry == at.Entry && !last.single {
			last.add(at.Batch, id)
			return Fresh
		}
		last.closed = true
	}
	e := newEntry(at, id, offset)
	e.add(at.Batch, id)
	l.entries = append(l.entries, e)
	return Fresh
}

func (l *pending) last() (Position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest, l.any
}

// request is one acknowledgement request, for whole entries.
type request struct {
	ids     []pulsar.MessageID
	indexes []int // of the same entries, valid until the next confirm
	more    bool  // some entries did not fit
	held    bool  // some entries wait until the ownership is no longer young
}

// plan returns the entries that may be acknowledged after p, at most limit, in ascending order. Only confirm marks them as
// acknowledged. young says that the broker may not have created the ledger of the cursor.
//
// Fetch waits for plan. It walks the entries and the ranges ahead once, and stops when the request is full.
func (l *pending) plan(p *commit.Progress, limit int, young bool) request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var q request
	l.replays = 0
	r, first, half, held := 0, true, false, false
	opener := l.opener
	for i := 0; i < len(l.entries) && !q.more; i++ {
		e := &l.entries[i]
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
		// An earlier owner has acknowledged what lies in a gap behind an entry. An earlier owner or another program has
		// acknowledged what lies in a gap within one. Such an entry may open only if no other can. Behind the last entry
		// there may be a gap too, but waiting to know would delay every hand-over.
		gap := i+1 < len(l.entries) && !e.adjoins(&l.entries[i+1])
		last := young && opener == moves && (!whole || !e.complete() || gap)
		opens := full && l.opener == undecided && len(q.ids) == 0
		held = held || last && !opens
		switch {
		case s == none:
			continue
		case half:
			l.unsent(e, settled)
			continue
		case held && whole:
			q.held = true
			l.unsent(e, settled)
		case whole:
			if q.more = len(q.ids) >= limit; !q.more {
				q.ids, q.indexes = append(q.ids, e.whole()), append(q.indexes, i)
			}
			held = held || last
		default:
			half = true
			l.unsent(e, settled)
		}
	}
	if len(q.ids) > 0 {
		l.opener = opener // even if the request is never answered
	}
	return q
}

// unsent counts messages that are settled and not acknowledged.
func (l *pending) unsent(e *entry, settled int32) {
	if l.replays == 0 {
		l.unacked = e.lowest()
	}
	l.replays += int64(settled)
}

// confirm records that the broker has confirmed a request. It also drops acknowledged entries between unacknowledged ones,
// so that a blocked key does not keep everything behind it in memory. It walks all entries only when half of them can go.
func (l *pending) confirm(q request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range q.indexes {
		l.entries[i].acked = true
	}
	l.spent += len(q.indexes)
	if 2*l.spent < len(l.entries) {
		return
	}
	kept, last := l.entries[:0], len(l.entries)-1
	l.spent = 0
	for i, e := range l.entries {
		if e.acked && i < last {
			continue
		}
		kept = append(kept, e) // the last one stays: more of it may be delivered
		if e.acked {
			l.spent++
		}
	}
	clear(l.entries[len(kept):])
	l.entries = kept
}

// stored returns what a crash now would replay of p, if everything planned is confirmed.
func (l *pending) stored(p *commit.Progress) commit.Stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.replays == 0 {
		return commit.Stored{Frontier: p.Frontier}
	}
	return commit.Stored{Frontier: min(p.Frontier, l.unacked), Replays: l.replays}
}

// received reports whether any message was delivered.
func (l *pending) received() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.any
}

// String is for the errors of tests.
func (q request) String() string { return fmt.Sprint(q.ids) }
