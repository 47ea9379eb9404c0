package pulsar

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
)

// testID is a message id as it comes with a message: of an entry of size messages.
type testID struct {
	ledger, entry int64
	batch, size   int32
	partition     int32
	tracker       *fakeTracker
}

func (i *testID) Serialize() []byte   { return nil }
func (i *testID) LedgerID() int64     { return i.ledger }
func (i *testID) EntryID() int64      { return i.entry }
func (i *testID) BatchIdx() int32     { return i.batch }
func (i *testID) PartitionIdx() int32 { return i.partition }
func (i *testID) BatchSize() int32    { return i.size }
func (i *testID) String() string      { return fmt.Sprintf("%d:%d:%d", i.ledger, i.entry, i.batch) }

// modelEntry is an entry of a log with what the broker knows of it, by message.
type modelEntry struct {
	ledger, entry int64
	keys          []int
	acked         []bool
	was           bool // acknowledged, all of it, when the ownership began
}

// handedModel is a partition whose messages are settled in any order that keeps the order of each key, and
// acknowledged through handed.
type handedModel struct {
	h        *handed
	log      []modelEntry
	base     []int64 // offset of message 0, by entry
	sent     [2]int  // next to be delivered: entry, message
	handed   [][]bool
	settled  [][]bool
	progress *commit.Progress
	young    bool // the broker has no ledger for the cursor yet
	opened   bool // it has heard of this owner
	requests int  // of this owner that it has heard of
	astray   bool // the cursor has moved over what an earlier owner has acknowledged, by the only entry there was, or the last that had come
}

func newHandedModel(t *rapid.T) *handedModel {
	m := &handedModel{}
	sizes := rapid.SliceOfN(rapid.IntRange(1, 4), 4, 25).Draw(t, "sizes")
	at, offset := position{ledger: 7}, int64(100)
	for _, n := range sizes {
		e := modelEntry{ledger: at.ledger, entry: at.entry, acked: make([]bool, n)}
		for range n {
			e.keys = append(e.keys, rapid.IntRange(0, 3).Draw(t, "key"))
		}
		m.log, m.base = append(m.log, e), append(m.base, offset)
		m.handed, m.settled = append(m.handed, make([]bool, n)), append(m.settled, make([]bool, n))
		offset += int64(n)
		at.entry++
		if rapid.IntRange(0, 9).Draw(t, "roll") == 0 {
			at.ledger, at.entry = at.ledger+2, 0
		}
	}
	m.begin(t)
	return m
}

func (m *handedModel) id(e, i int) *testID {
	return &testID{ledger: m.log[e].ledger, entry: m.log[e].entry, batch: int32(i), size: int32(len(m.log[e].keys))}
}

// deliver lets the next message come that is not acknowledged.
func (m *handedModel) deliver(t *rapid.T) {
	for e, i := m.sent[0], m.sent[1]; e < len(m.log); e, i = e+1, 0 {
		for ; i < len(m.log[e].keys); i++ {
			if m.log[e].acked[i] {
				continue
			}
			m.sent = [2]int{e, i + 1}
			if v := m.h.take(m.id(e, i), m.base[e]+int64(i)); v != fresh {
				t.Fatalf("take of %v = %v, want it to be handed out", m.id(e, i), v)
			}
			m.handed[e][i] = true
			return
		}
	}
}

// settle settles one message that is first of its key.
func (m *handedModel) settle(t *rapid.T) {
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

// snapshot makes the progress of what is settled.
func (m *handedModel) snapshot() {
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

// acknowledge sends one request; whether it arrives, and whether its answer does, is a matter of luck.
func (m *handedModel) acknowledge(t *rapid.T) {
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

func (m *handedModel) whole(e int) bool { return !slices.Contains(m.log[e].acked, false) }

// cursor returns how many entries from the first on are acknowledged.
func (m *handedModel) cursor(acked func(e int) bool) int {
	for e := range m.log {
		if !acked(e) {
			return e
		}
	}
	return len(m.log)
}

// apply is the broker's side of a request.
func (m *handedModel) apply(t *rapid.T, ids []pulsar.MessageID) {
	for _, id := range ids {
		for e := range m.log {
			if m.log[e].ledger != id.LedgerID() || m.log[e].entry != id.EntryID() {
				continue
			}
			_, came := id.(*testID) // of one made from numbers the library takes ledger and entry alone
			for i := range m.log[e].acked {
				if came && int(id.BatchIdx()) != i {
					continue
				}
				if !m.log[e].acked[i] && !m.settled[e][i] {
					t.Fatalf("message %v is acknowledged and not settled (handed out: %t)", m.id(e, i), m.handed[e][i])
				}
				m.log[e].acked[i] = true
			}
		}
	}
}

// begin starts another ownership: everything that is not acknowledged comes again. Before it, another program may have
// consumed with the same subscription and acknowledged single messages of batches, each key in order.
func (m *handedModel) begin(t *rapid.T) {
	m.h, m.progress, m.sent = newHanded(&commit.Progress{}), &commit.Progress{}, [2]int{}
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

// acknowledgeFirst acknowledges the first message of a key that is not acknowledged, whatever its batch.
func (m *handedModel) acknowledgeFirst(key int) {
	for e := range m.log {
		for i, k := range m.log[e].keys {
			if k == key && !m.log[e].acked[i] {
				m.log[e].acked[i] = true
				return
			}
		}
	}
}

// open reports whether the last entry that has come may still go on: it lacks its last message.
func (m *handedModel) open() bool {
	for e := len(m.log) - 1; e >= 0; e-- {
		if slices.Contains(m.handed[e], true) {
			return !m.handed[e][len(m.handed[e])-1]
		}
	}
	return false
}

// extend appends an entry of one message to the log.
func (m *handedModel) extend() {
	last := len(m.log) - 1
	m.log = append(m.log, modelEntry{ledger: m.log[last].ledger, entry: m.log[last].entry + 1, keys: []int{0}, acked: make([]bool, 1)})
	m.base = append(m.base, m.base[last]+int64(len(m.log[last].keys)))
	m.handed, m.settled = append(m.handed, make([]bool, 1)), append(m.settled, make([]bool, 1))
}

// check is what a crash now would mean.
func (m *handedModel) check(t *rapid.T) {
	again := make(map[int]bool) // keys of which a message comes again
	for e := range m.log {
		for i, key := range m.log[e].keys {
			switch {
			case !m.handed[e][i]:
			case !m.log[e].acked[i]:
				again[key] = true
			case again[key]:
				t.Fatalf("an earlier message of key %d comes again, but %v does not", key, m.id(e, i))
			}
		}
	}
}

// checkUnloaded is what an unload now would mean before the broker has a ledger for the cursor: it forgets how far that has
// moved, with what is acknowledged up to there by anybody, and keeps what is acknowledged above.
func (m *handedModel) checkUnloaded(t *rapid.T) {
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
				t.Fatalf("after an unload an earlier message of key %d comes again, but %v does not", key, m.id(e, i))
			}
		}
	}
}

func (m *handedModel) left() (acked, total int) {
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

func TestHandedNeverLetsAKeyComeAgainBehindItsLaterMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newHandedModel(t)
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
		// In the end everything is acknowledged, whatever was lost on the way.
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
			t.Fatalf("stored %+v, want everything", s)
		}
		if live := len(m.h.entries); live > 1 {
			t.Fatalf("%d entries are kept although all is acknowledged", live)
		}
	})
}

func TestHandedKnowsWhatCannotBeOfItsOwnership(t *testing.T) {
	h := newHanded(&commit.Progress{})
	for _, c := range []struct {
		id     testID
		offset int64
		want   verdict
	}{
		{testID{ledger: 7, entry: 3, size: 1}, 10, fresh},
		{testID{ledger: 7, entry: 4, batch: 1, size: 2}, 12, fresh},
		{testID{ledger: 7, entry: 4, batch: 0, size: 2}, 11, strange},
		{testID{ledger: 7, entry: 4, batch: 1, size: 2}, 12, strange},
		{testID{ledger: 7, entry: 2, size: 1}, 9, strange},
		{testID{ledger: 9, entry: 0, size: 1}, 0, remade},
		{testID{ledger: 9, entry: 0, size: 1}, 13, fresh},
	} {
		if got := h.take(&c.id, c.offset); got != c.want {
			t.Errorf("take of %v at %d = %v, want %v", &c.id, c.offset, got, c.want)
		}
	}
}

// The first chunks of a message are entries that nothing is handed out of. Only the id that came with the message knows them:
// without their acknowledgement they come again for ever, and no message of theirs is ever complete.
func TestMessageInChunksIsAcknowledgedByTheIdItCameWith(t *testing.T) {
	h := newHanded(&commit.Progress{})
	single, chunked := &testID{ledger: 7, entry: 3, size: 1, partition: 2}, &testID{ledger: 7, entry: 9, batch: -1, size: 1, partition: 2}
	for offset, id := range []*testID{single, chunked} {
		if v := h.take(id, int64(offset)); v != fresh {
			t.Fatalf("take of %v = %v", id, v)
		}
	}
	q := h.plan(&commit.Progress{Frontier: 2}, 10, false)
	if len(q.ids) != 2 || q.ids[1] != pulsar.MessageID(chunked) {
		t.Fatalf("acknowledged are %v, want the second by the object that came with it", q.ids)
	}
	// The other by one made anew, which the library sends only if it is of its own partition.
	if id := q.ids[0]; id == pulsar.MessageID(single) || id.LedgerID() != 7 || id.EntryID() != 3 || id.BatchIdx() >= 0 || id.PartitionIdx() != 2 {
		t.Errorf("the first is acknowledged by %v of partition %d, want its whole entry, of partition 2", id, id.PartitionIdx())
	}
}
