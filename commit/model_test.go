package commit_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
)

// model is a trivial tracker: a map of offsets.
type model struct {
	position int64
	settled  map[int64]bool // by offset, for every tracked message
	restored []commit.Range // as given
	numbers  []int64        // number -> offset
}

func newModel(p *commit.Progress) *model {
	return &model{position: p.Frontier, settled: map[int64]bool{}, restored: p.Ahead}
}

func (m *model) wasSettled(offset int64) bool {
	return slices.ContainsFunc(m.restored, func(r commit.Range) bool { return r.From <= offset && offset < r.To })
}

func (m *model) track(offsets []int64, next int64) {
	for _, o := range offsets {
		m.settled[o] = m.wasSettled(o)
		m.numbers = append(m.numbers, o)
	}
	m.position = next
}

func (m *model) frontier() int64 {
	f := m.position
	for o, settled := range m.settled {
		if !settled {
			f = min(f, o)
		}
	}
	return f
}

// pending returns the unsettled numbers.
func (m *model) pending() []int64 {
	var out []int64
	for n, o := range m.numbers {
		if !m.settled[o] {
			out = append(out, int64(n))
		}
	}
	return out
}

// check compares all results of the tracker with the model.
func (m *model) check(t *rapid.T, tr *commit.Tracker) {
	t.Helper()
	p, s, pending := tr.Progress(), tr.State(), m.pending()
	if want := m.frontier(); p.Frontier != want || s.Frontier != want {
		t.Fatalf("frontier = %d (State: %d), want %d", p.Frontier, s.Frontier, want)
	}
	if s.Position != m.position {
		t.Fatalf("position = %d, want %d", s.Position, m.position)
	}
	if s.Pending != int64(len(pending)) {
		t.Fatalf("pending = %d, want %d", s.Pending, len(pending))
	}
	oldest := int64(-1)
	if len(pending) > 0 {
		oldest = pending[0]
	}
	if s.Oldest != oldest {
		t.Fatalf("oldest = %d, want %d", s.Oldest, oldest)
	}
	ahead := int64(0)
	for n, o := range m.numbers {
		settled := m.settled[o]
		if p.Settled(o) != settled {
			t.Fatalf("progress %v says settled(%d) = %v, want %v", p, o, !settled, settled)
		}
		if settled && oldest >= 0 && int64(n) > oldest {
			ahead++
		}
		if got, ok := tr.Offset(int64(n)); ok == settled || (ok && got != o) {
			t.Fatalf("Offset(%d) = %d, %v, want %d, %v", n, got, ok, o, !settled)
		}
	}
	if s.Ahead != ahead {
		t.Fatalf("ahead = %d, want %d", s.Ahead, ahead)
	}
	unread := int64(0)
	for _, r := range m.restored {
		unread += max(0, r.To-max(r.From, m.position))
	}
	if got := tr.Restored(); got != unread {
		t.Fatalf("%d restored offsets at or above the position %d, want %d of %v", got, m.position, unread, m.restored)
	}
	last := int64(math.MinInt64)
	for i, r := range p.Ahead {
		if r.From >= r.To || r.From < p.Frontier || (i > 0 && r.From <= last) {
			t.Fatalf("range %v in %v is empty, below the frontier %d or touches the previous one", r, p.Ahead, p.Frontier)
		}
		last = r.To
		// A range holds at least one message, or was left by an earlier owner.
		if !slices.ContainsFunc(m.numbers, func(o int64) bool { return r.From <= o && o < r.To }) &&
			!slices.ContainsFunc(m.restored, func(q commit.Range) bool { return q.From < r.To && r.From < q.To }) {
			t.Fatalf("range %v holds no message", r)
		}
	}
	for _, r := range m.restored { // kept until the frontier has passed it, even if it was fetched again
		for o := max(r.From, p.Frontier); o < r.To; o++ {
			if !p.Settled(o) {
				t.Fatalf("restored range %v lost: %v does not contain %d", r, p, o)
			}
		}
	}
}

// ranges makes well-formed ranges above the frontier from (gap, length) pairs.
func ranges(frontier int64, pairs []byte) []commit.Range {
	var out []commit.Range
	at := frontier
	for i := 0; i+1 < len(pairs); i += 2 {
		at += int64(pairs[i]) + 1
		out = append(out, commit.Range{From: at, To: at + int64(pairs[i+1]) + 1})
		at = out[len(out)-1].To
	}
	return out
}

func newTracker(t *testing.T, p *commit.Progress, offsets []int64, next int64) *commit.Tracker {
	t.Helper()
	tr := commit.NewTracker(p)
	if _, _, err := tr.Track(offsets, next); err != nil {
		t.Fatal(err)
	}
	return tr
}

// upTo returns from, from+1, ..., to-1.
func upTo(from, to int64) []int64 {
	out := make([]int64, 0, to-from)
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}
