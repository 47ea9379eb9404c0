package ack

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
)

// testID is the id of a delivered message. Its entry has size messages.
type testID struct {
	ledger, entry int64
	batch, size   int32
	partition     int32
}

func (i *testID) Serialize() []byte   { return nil }
func (i *testID) LedgerID() int64     { return i.ledger }
func (i *testID) EntryID() int64      { return i.entry }
func (i *testID) BatchIdx() int32     { return i.batch }
func (i *testID) PartitionIdx() int32 { return i.partition }
func (i *testID) BatchSize() int32    { return i.size }
func (i *testID) String() string      { return fmt.Sprintf("%d:%d:%d", i.ledger, i.entry, i.batch) }

// modelEntry is an entry of a log, with the state of each message at the broker.
type modelEntry struct {
	ledger, entry int64
	keys          []int
	acked         []bool
	was           bool // acknowledged as a whole when the ownership began
}

// model is a partition. Its messages settle in any order that keeps the order of each key, and are acknowledged as pending
// plans.
type model struct {
	h        *pending
	log      []modelEntry
	base     []int64 // offset of message 0, by entry
	sent     [2]int  // next to be delivered: entry, message
	handed   [][]bool
	settled  [][]bool
	progress *commit.Progress
	young    bool // the broker has not created the ledger of the cursor
	opened   bool // a request of this owner has arrived
	requests int  // of this owner that have arrived
	astray   bool // the cursor has moved over entries of an earlier owner, by the only entry there was, or the last one delivered
}

func newModel(t *rapid.T) *model {
	m := &model{}
	sizes := rapid.SliceOfN(rapid.IntRange(1, 4), 4, 25).Draw(t, "sizes")
	at, offset := Position{Ledger: 7}, int64(100)
	for _, n := range sizes {
		e := modelEntry{ledger: at.Ledger, entry: at.Entry, acked: make([]bool, n)}
		for range n {
			e.keys = append(e.keys, rapid.IntRange(0, 3).Draw(t, "key"))
		}
		m.log, m.base = append(m.log, e), append(m.base, offset)
		m.handed, m.settled = append(m.handed, make([]bool, n)), append(m.settled, make([]bool, n))
		offset += int64(n)
		at.Entry++
		if rapid.IntRange(0, 9).Draw(t, "roll") == 0 {
			at.Ledger, at.Entry = at.Ledger+2, 0
		}
	}
	m.begin(t)
	return m
}

func (m *model) id(e, i int) *testID {
	return &testID{ledger: m.log[e].ledger, entry: m.log[e].entry, batch: int32(i), size: int32(len(m.log[e].keys))}
}

// deliver delivers the next unacknowledged message.
func (m *model) deliver(t *rapid.T) {
	for e, i := m.sent[0], m.sent[1]; e < len(m.log); e, i = e+1, 0 {
		for ; i < len(m.log[e].keys); i++ {
			if m.log[e].acked[i] {
				continue
			}
			m.sent = [2]int{e, i + 1}
			if v := m.h.take(m.id(e, i), m.base[e]+int64(i)); v != Fresh {
				t.Fatalf("take of %v = %v, want Fresh", m.id(e, i), v)
			}
			m.handed[e][i] = true
			return
		}
	}
}

// settle settles the first unsettled message of a random key.
func (m *model) settle(t *rapid.T) {
	var open [][2]int
	seen := make(map[int]bool)
	for e := range m.log {
		for i, key := range m.log[e].keys {
			if m.handed[e][i] && !m.settled[e][i] && !seen[key] {
				open = append(open, [2]int{e, i})
				seen[key] = true
			}
		}
	}
	if len(open) == 0 {
		return
	}
	at := rapid.SampledFrom(open).Draw(t, "settled")
	m.settled[at[0]][at[1]] = true
}

// snapshot computes the progress of the settled messages.
func (m *model) snapshot() {
	p := &commit.Progress{Frontier: -1}
	for e := range m.log {
		for i := range m.log[e].keys {
			o := m.base[e] + int64(i)
			switch {
			case !m.handed[e][i]:
			case !m.settled[e][i] && p.Frontier < 0:
				p.Frontier = o
			case m.settled[e][i] && p.Frontier >= 0:
				if n := len(p.Ahead); n > 0 && p.Ahead[n-1].To == o {
					p.Ahead[n-1].To++
				} else {
					p.Ahead = append(p.Ahead, commit.Range{From: o, To: o + 1})
				}
			}
		}
	}
	if p.Frontier < 0 {
		p.Frontier = 0
		for e := range m.log {
			for i := range m.log[e].keys {
				if m.handed[e][i] {
					p.Frontier = m.base[e] + int64(i) + 1
				}
			}
		}
	}
	m.progress = p
}

// acknowledge sends one request. At random, it or its answer is lost.
func (m *model) acknowledge(t *rapid.T) {
	q := m.h.plan(m.progress, rapid.IntRange(1, 8).Draw(t, "limit"), m.young)
	if len(q.ids) == 0 {
		return
	}
	arrives, answers := rapid.Bool().Draw(t, "arrives"), rapid.Bool().Draw(t, "answers")
	if arrives {
		old := m.cursor(m.whole)
		begun := old < len(m.log) && slices.Contains(m.log[old].acked, true)
		m.apply(t, q.ids)
		m.requests++
		now := m.cursor(m.whole)
		m.astray = m.astray || m.requests == 1 && len(q.ids) == 1 && (now > old+1 || now > old && begun) || now > m.sent[0]+1
	}
	if arrives && answers {
		m.h.confirm(q)
	}
	m.opened = m.opened || arrives
}

func (m *model) whole(e int) bool { return !slices.Contains(m.log[e].acked, false) }

// cursor returns the number of acknowledged entries from the first on.
func (m *model) cursor(acked func(e int) bool) int {
	for e := range m.log {
		if !acked(e) {
			return e
		}
	}
	return len(m.log)
}

// apply executes a request at the broker.
func (m *model) apply(t *rapid.T, ids []pulsar.MessageID) {
	for _, id := range ids {
		for e := range m.log {
			if m.log[e].ledger != id.LedgerID() || m.log[e].entry != id.EntryID() {
				continue
			}
			_, came := id.(*testID) // of an id made from numbers, the library uses only ledger and entry
			for i := range m.log[e].acked {
				if came && int(id.BatchIdx()) != i {
					continue
				}
				if !m.log[e].acked[i] && !m.settled[e][i] {
					t.Fatalf("message %v is acknowledged and not settled (delivered: %t)", m.id(e, i), m.handed[e][i])
				}
				m.log[e].acked[i] = true
			}
		}
	}
}

// begin starts another ownership: all unacknowledged messages are redelivered. Before that, another program may have used
// the subscription and acknowledged single messages of batches, each key in order.
func (m *model) begin(t *rapid.T) {
	m.h, m.progress, m.sent = &pending{}, &commit.Progress{}, [2]int{}
	for _, key := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 8).Draw(t, "acknowledged by another program") {
		m.acknowledgeFirst(key)
	}
	m.young, m.opened, m.requests, m.astray = true, false, 0, false
	for e := range m.log {
		m.log[e].was = m.whole(e)
		clear(m.handed[e])
		clear(m.settled[e])
	}
}

// acknowledgeFirst acknowledges the first unacknowledged message of a key, whatever its batch.
func (m *model) acknowledgeFirst(key int) {
	for e := range m.log {
		for i, k := range m.log[e].keys {
			if k == key && !m.log[e].acked[i] {
				m.log[e].acked[i] = true
				return
			}
		}
	}
}

// open reports whether the last message of the last delivered entry is missing.
func (m *model) open() bool {
	for e := len(m.log) - 1; e >= 0; e-- {
		if slices.Contains(m.handed[e], true) {
			return !m.handed[e][len(m.handed[e])-1]
		}
	}
	return false
}

// extend appends an entry of one message to the log.
func (m *model) extend() {
	last := len(m.log) - 1
	m.log = append(m.log, modelEntry{ledger: m.log[last].ledger, entry: m.log[last].entry + 1, keys: []int{0}, acked: make([]bool, 1)})
	m.base = append(m.base, m.base[last]+int64(len(m.log[last].keys)))
	m.handed, m.settled = append(m.handed, make([]bool, 1)), append(m.settled, make([]bool, 1))
}

// check verifies the order of redelivery after a crash now.
func (m *model) check(t *rapid.T) {
	again := make(map[int]bool) // keys with a redelivered message
	for e := range m.log {
		for i, key := range m.log[e].keys {
			switch {
			case !m.handed[e][i]:
			case !m.log[e].acked[i]:
				again[key] = true
			case again[key]:
				t.Fatalf("an earlier message of key %d is redelivered, but %v is not", key, m.id(e, i))
			}
		}
	}
}

// checkUnloaded verifies the order after an unload now, before the broker has created the ledger of the cursor. It forgets
// how far the cursor moved, with all acknowledgements up to there, and keeps those above.
func (m *model) checkUnloaded(t *rapid.T) {
	if !m.young || m.astray {
		return
	}
	again := make(map[int]bool)
	forgot := m.cursor(func(e int) bool { return m.log[e].was })
	for e := forgot; e < m.cursor(m.whole); e++ {
		for _, key := range m.log[e].keys {
			again[key] = true
		}
	}
	for e := m.cursor(m.whole); e < len(m.log); e++ {
		for i, key := range m.log[e].keys {
			if m.log[e].acked[i] && again[key] {
				t.Fatalf("after an unload an earlier message of key %d is redelivered, but %v is not", key, m.id(e, i))
			}
		}
	}
}

func (m *model) left() (acked, total int) {
	for e := range m.log {
		for i := range m.log[e].keys {
			total++
			if m.log[e].acked[i] {
				acked++
			}
		}
	}
	return acked, total
}

func TestPendingNeverRedeliversAKeyBehindItsLaterMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		steps := rapid.SliceOfN(rapid.IntRange(0, 10), 60, 200).Draw(t, "steps")
		for _, step := range steps {
			switch step {
			case 0, 1, 2:
				m.deliver(t)
			case 3, 4, 5:
				m.settle(t)
			case 6, 7:
				m.snapshot()
				m.acknowledge(t)
			case 8:
				m.acknowledge(t)
			case 9:
				m.begin(t)
			case 10:
				m.young = m.young && !m.opened
			}
			m.check(t)
			m.checkUnloaded(t)
		}
		// In the end everything is acknowledged, although requests were lost.
		for range 2 * 100 {
			m.deliver(t)
		}
		if m.open() { // acknowledged once the next entry comes
			m.extend()
			m.deliver(t)
		}
		for range 100 {
			m.settle(t)
		}
		m.snapshot()
		for {
			q := m.h.plan(m.progress, 5, false)
			if len(q.ids) == 0 {
				break
			}
			m.apply(t, q.ids)
			m.h.confirm(q)
			m.check(t)
		}
		if acked, total := m.left(); acked != total {
			t.Fatalf("%d of %d messages are acknowledged", acked, total)
		}
		if s := m.h.stored(m.progress); s != (commit.Stored{Frontier: m.progress.Frontier}) {
			t.Fatalf("stored = %+v, want all of it", s)
		}
		if live := len(m.h.entries); live > 1 {
			t.Fatalf("%d entries are kept, want at most 1: all are acknowledged", live)
		}
	})
}

func TestTakeRecognizesMessagesOfAnotherOwnership(t *testing.T) {
	h := &pending{}
	for _, c := range []struct {
		id     testID
		offset int64
		want   Verdict
	}{
		{testID{ledger: 7, entry: 3, size: 1}, 10, Fresh},
		{testID{ledger: 7, entry: 4, batch: 1, size: 2}, 12, Fresh},
		{testID{ledger: 7, entry: 4, batch: 0, size: 2}, 11, Stale},
		{testID{ledger: 7, entry: 4, batch: 1, size: 2}, 12, Stale},
		{testID{ledger: 7, entry: 2, size: 1}, 9, Stale},
		{testID{ledger: 9, entry: 0, size: 1}, 0, Remade},
		{testID{ledger: 9, entry: 0, size: 1}, 13, Fresh},
	} {
		if got := h.take(&c.id, c.offset); got != c.want {
			t.Errorf("take of %v at %d = %v, want %v", &c.id, c.offset, got, c.want)
		}
	}
}

// Only the id that came with a message in chunks knows its first chunks. Unacknowledged, they are redelivered for ever.
func TestChunkedMessageIsAcknowledgedByItsOwnID(t *testing.T) {
	h := &pending{}
	single, chunked := &testID{ledger: 7, entry: 3, size: 1, partition: 2}, &testID{ledger: 7, entry: 9, batch: -1, size: 1, partition: 2}
	for offset, id := range []*testID{single, chunked} {
		if v := h.take(id, int64(offset)); v != Fresh {
			t.Fatalf("take of %v = %v", id, v)
		}
	}
	q := h.plan(&commit.Progress{Frontier: 2}, 10, false)
	if len(q.ids) != 2 || q.ids[1] != pulsar.MessageID(chunked) {
		t.Fatalf("request = %v, want the second by the object that came with it", q.ids)
	}
	// The library sends an id made anew only if it names the right partition.
	if id := q.ids[0]; id == pulsar.MessageID(single) || id.LedgerID() != 7 || id.EntryID() != 3 || id.BatchIdx() >= 0 || id.PartitionIdx() != 2 {
		t.Errorf("first id = %v of partition %d, want the whole entry, of partition 2", id, id.PartitionIdx())
	}
}
