package pulsar

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

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
// What was confirmed is kept for a while. A broker that is killed forgets the newest second of it; before the messages
// of that come again, or if nobody fetches them, later ones could be acknowledged above them. So when a connection has failed, everything that was
// confirmed not long ago is sent again, together with what is new.
//
// It is safe for concurrent use: Fetch adds, the acker asks.
type handed struct {
	byBatch bool          // single messages of a batch are acknowledged
	hold    time.Duration // how long what was confirmed is kept

	mu      sync.Mutex
	entries []entry // ascending, from head on
	head    int
	first   int64              // number of entries[head]: it grows when one leaves
	gone    []span             // entries that were handed out, acknowledged and have left, ascending
	highest position           //
	any     bool               // there is a highest
	repeat  []pulsar.MessageID // of entries that have left and came again
	settled *commit.Progress   // the last one that was committed
	replays int64              // settled messages that a crash would hand out again
	unacked int64              // lowest offset of those; valid if replays > 0
}

// span is a stretch of entries of one ledger.
type span struct{ ledger, from, to int64 }

// maxSpans bounds gone. What falls out is oldest; if it came again, the ownership would end.
const maxSpans = 1 << 16

// verdict is what to do with a message that has come.
type verdict uint8

const (
	fresh   verdict = iota // hand it out
	known                  // it was handed out before: drop it
	strange                // it is below what was handed out, and never was
)

func newHanded(byBatch bool, restored *commit.Progress) *handed {
	return &handed{byBatch: byBatch, hold: ackHold, settled: restored}
}

// ackHold is above what a killed broker has been seen to forget, which is up to 1.7 s, by what an answer may be late.
const ackHold = 5 * time.Second

// doubt takes back what was confirmed not long ago, because the connection has failed: it will be sent again.
func (h *handed) doubt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := h.head; i < len(h.entries); i++ {
		e := &h.entries[i]
		e.acked = false
		e.again++
		clear(e.got)
	}
}

// take notes that a message has come, and says what to do with it. again: something is to be acknowledged once more.
func (h *handed) take(id pulsar.MessageID, offset int64) (v verdict, again bool) {
	at := positionOf(id)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.any && at.compare(h.highest) <= 0 {
		return h.redelivered(id, at)
	}
	h.highest, h.any = at, true
	if n := len(h.entries); n > h.head {
		last := &h.entries[n-1]
		if last.ledger == at.ledger && last.entry == at.entry && !last.single {
			last.add(at.batch, id)
			return fresh, false
		}
		last.closed = true
	}
	e := newEntry(at, id, offset, h.byBatch)
	e.add(at.batch, id)
	h.entries = append(h.entries, e)
	return fresh, false
}

// redelivered handles what the broker sends again after a reconnect or an unload: everything that it does not know as
// acknowledged, from the oldest on.
func (h *handed) redelivered(id pulsar.MessageID, at position) (v verdict, again bool) {
	live := h.entries[h.head:]
	i, found := slices.BinarySearchFunc(live, at, func(e entry, p position) int {
		return cmp.Or(cmp.Compare(e.ledger, p.ledger), cmp.Compare(e.entry, p.entry))
	})
	if found {
		e := &live[i]
		if !e.has(at.batch) {
			return strange, false
		}
		e.came(at.batch, id)
		r := 0
		s, _ := e.settled(h.settled, &r)
		return known, s != none
	}
	_, found = slices.BinarySearchFunc(h.gone, at, func(s span, p position) int {
		switch {
		case s.ledger != p.ledger:
			return cmp.Compare(s.ledger, p.ledger)
		case s.to < p.entry:
			return -1
		case s.from > p.entry:
			return 1
		}
		return 0
	})
	if !found {
		return strange, false
	}
	e := newEntry(at, id, 0, false)
	if n := len(h.repeat); n == 0 || positionOf(h.repeat[n-1]).compare(position{at.ledger, at.entry, 0}) != 0 {
		h.repeat = append(h.repeat, e.whole())
	}
	return known, true
}

// request is what one acknowledgement says.
type request struct {
	ids    []pulsar.MessageID
	items  []item
	repeat int // the first ids are of handed.repeat
	more   bool
}

// item is what of an entry a request acknowledges: the whole, or single messages.
type item struct {
	number int64
	again  int32
	bits   []uint64
}

// plan returns what of p is to be acknowledged now, at most limit entries, in ascending order. What is returned is not
// noted as confirmed.
func (h *handed) plan(p *commit.Progress, limit int) request {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = p
	var q request
	n := min(len(h.repeat), limit)
	q.ids, q.repeat, q.more = append(q.ids, h.repeat[:n]...), n, n < len(h.repeat)
	h.replays = 0
	r, half := 0, false
	for i := h.head; i < len(h.entries); i++ {
		e := &h.entries[i]
		if e.acked {
			continue
		}
		s, settled := e.settled(p, &r)
		switch {
		case s == none:
			continue
		case half:
			h.unsent(e, settled)
			continue
		case s == all && e.closed:
			q.add(item{number: h.first + int64(i-h.head), again: e.again}, limit, e.whole())
		case h.byBatch && !e.single:
			bits, ids := e.open(p)
			if len(ids) > 0 {
				q.add(item{number: h.first + int64(i-h.head), again: e.again, bits: bits}, limit, ids...)
			}
		default:
			half = true
			h.unsent(e, settled)
		}
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

// open returns the messages of a batch that p settles and that are not confirmed.
func (e *entry) open(p *commit.Progress) (bits []uint64, ids []pulsar.MessageID) {
	r := 0
	bits = make([]uint64, len(e.out))
	for i := range e.size {
		if !e.has(i) || e.got[i/64]&(1<<(i%64)) != 0 || !below(p, &r, e.base+int64(i)) {
			continue
		}
		bits[i/64] |= 1 << (i % 64)
		ids = append(ids, e.ids[i])
	}
	return bits, ids
}

func (q *request) add(it item, limit int, ids ...pulsar.MessageID) {
	if q.more = q.more || len(q.items)+q.repeat >= limit; q.more {
		return
	}
	q.items = append(q.items, it)
	q.ids = append(q.ids, ids...)
}

// confirm notes that the broker has confirmed a request, and forgets what is acknowledged from below.
func (h *handed) confirm(q request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UnixNano()
	h.repeat = slices.Delete(h.repeat, 0, q.repeat)
	for _, it := range q.items {
		i := h.head + int(it.number-h.first)
		if i < h.head || i >= len(h.entries) {
			continue
		}
		e := &h.entries[i]
		switch {
		case e.again != it.again:
		case it.bits == nil:
			e.acked, e.since = true, now
		default:
			for w := range it.bits {
				e.got[w] |= it.bits[w]
			}
		}
	}
	// The last entry stays: more of it may come, and it tells a redelivery from what is new.
	for h.head < len(h.entries)-1 && h.entries[h.head].acked && now-h.entries[h.head].since >= int64(h.hold) {
		h.leave(&h.entries[h.head])
		h.entries[h.head] = entry{}
		h.head++
		h.first++
	}
	if h.head > 64 && h.head > len(h.entries)/2 {
		h.entries = slices.Delete(h.entries, 0, h.head)
		h.head = 0
	}
}

// leave remembers that an entry was handed out and acknowledged.
func (h *handed) leave(e *entry) {
	if n := len(h.gone); n > 0 && h.gone[n-1].ledger == e.ledger && h.gone[n-1].to+1 == e.entry {
		h.gone[n-1].to = e.entry
		return
	}
	if len(h.gone) == maxSpans {
		h.gone = slices.Delete(h.gone, 0, maxSpans/2)
	}
	h.gone = append(h.gone, span{ledger: e.ledger, from: e.entry, to: e.entry})
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

// last returns the highest position that has come.
func (h *handed) last() (position, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest, h.any
}

// String is for the errors of tests.
func (q request) String() string { return fmt.Sprint(q.ids) }
