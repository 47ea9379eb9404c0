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
}

// handedModel is a partition whose messages are settled in any order that keeps the order of each key, and
// acknowledged through handed.
type handedModel struct {
	h        *handed
	byBatch  bool // and the broker knows single messages of a batch
	log      []modelEntry
	base     []int64 // offset of message 0, by entry
	sent     [2]int  // next to be delivered: entry, message
	handed   [][]bool
	settled  [][]bool
	first    [2]int // the first that was delivered
	progress *commit.Progress
}

func newHandedModel(t *rapid.T, byBatch bool) *handedModel {
	m := &handedModel{h: newHanded(byBatch, &commit.Progress{}), byBatch: byBatch, progress: &commit.Progress{}}
	if rapid.Bool().Draw(t, "forgets at once") {
		m.h.hold = 0
	}
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
			v, _ := m.h.take(m.id(e, i), m.base[e]+int64(i))
			switch want := fresh; {
			case m.handed[e][i]:
				want = known
				fallthrough
			default:
				if v != want {
					t.Fatalf("take of %v = %v, want %v", m.id(e, i), v, want)
				}
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
	q := m.h.plan(m.progress, rapid.IntRange(1, 8).Draw(t, "limit"))
	if len(q.ids) == 0 {
		return
	}
	arrives, answers := rapid.Bool().Draw(t, "arrives"), rapid.Bool().Draw(t, "answers")
	if arrives {
		m.apply(q.ids)
	}
	if arrives && answers {
		m.h.confirm(q)
	}
}

func (m *handedModel) apply(ids []pulsar.MessageID) {
	for _, id := range ids {
		for e := range m.log {
			if m.log[e].ledger != id.LedgerID() || m.log[e].entry != id.EntryID() {
				continue
			}
			for i := range m.log[e].acked {
				if id.BatchIdx() < 0 || int(id.BatchIdx()) == i {
					m.log[e].acked[i] = true
				}
			}
		}
	}
}

// reconnect lets everything come again that is not acknowledged.
func (m *handedModel) reconnect() { m.sent = m.first }

// check is what a crash now would mean.
func (m *handedModel) check(t *rapid.T) {
	again := make(map[int]bool) // keys of which a message comes again
	for e := range m.log {
		for i, key := range m.log[e].keys {
			switch {
			case !m.handed[e][i]:
			case !m.log[e].acked[i]:
				again[key] = true
			case !m.settled[e][i]:
				t.Fatalf("message %v is acknowledged and not settled", m.id(e, i))
			case again[key]:
				t.Fatalf("an earlier message of key %d comes again, but %v does not", key, m.id(e, i))
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
	for _, byBatch := range []bool{false, true} {
		t.Run(fmt.Sprintf("byBatch=%t", byBatch), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newHandedModel(t, byBatch)
				steps := rapid.SliceOfN(rapid.IntRange(0, 9), 60, 200).Draw(t, "steps")
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
						m.reconnect()
					}
					m.check(t)
				}
				// In the end everything is acknowledged, whatever was lost on the way.
				for range 2 * 100 {
					m.deliver(t)
				}
				for range 100 {
					m.settle(t)
				}
				m.snapshot()
				for {
					q := m.h.plan(m.progress, 5)
					if len(q.ids) == 0 {
						break
					}
					m.apply(q.ids)
					m.h.confirm(q)
					m.check(t)
				}
				if acked, total := m.left(); acked != total {
					t.Fatalf("%d of %d messages are acknowledged", acked, total)
				}
				if s := m.h.stored(m.progress); s != (commit.Stored{Frontier: m.progress.Frontier}) {
					t.Fatalf("stored %+v, want everything", s)
				}
				if live := len(m.h.entries) - m.h.head; live > 1 && m.h.hold == 0 {
					t.Fatalf("%d entries are kept although all is acknowledged", live)
				}
			})
		})
	}
}

// A broker that is killed forgets its newest acknowledgements: what it sends again is acknowledged again, and not handed
// out.
func TestHandedRepairsWhatTheBrokerForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newHandedModel(t, false)
		var older [][]bool
		remember := func() {
			older = nil
			for e := range m.log {
				older = append(older, slices.Clone(m.log[e].acked))
			}
		}
		remember()
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			for range rapid.IntRange(1, 30).Draw(t, "delivered") {
				m.deliver(t)
			}
			for range rapid.IntRange(1, 30).Draw(t, "settled") {
				m.settle(t)
			}
			m.snapshot()
			q := m.h.plan(m.progress, 100)
			m.apply(q.ids)
			m.h.confirm(q)
			if rapid.Bool().Draw(t, "crash") {
				for e := range m.log {
					copy(m.log[e].acked, older[e])
				}
				m.reconnect()
			} else if rapid.Bool().Draw(t, "durable") {
				remember()
			}
		}
		for range 300 {
			m.deliver(t)
		}
		for range 100 {
			m.settle(t)
		}
		m.snapshot()
		q := m.h.plan(m.progress, 1000)
		m.apply(q.ids)
		m.h.confirm(q)
		m.check(t)
		if acked, total := m.left(); acked != total {
			t.Fatalf("%d of %d messages are acknowledged", acked, total)
		}
	})
}
