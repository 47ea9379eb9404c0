package commit_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// Long histories over many blocks: after every step the progress must equal that of a sorted list of all messages.
func FuzzTrackerMatchesSortedSet(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 255, 0, 3, 0, 0, 0, 200, 0, 4, 1, 0})                   // settles all, repeatedly
	f.Add([]byte{0, 0, 0, 255, 0, 5, 0, 0, 0, 255, 0, 6, 7, 0, 5, 0, 0, 3, 0, 0}) // one message stuck for long
	f.Add([]byte{9, 4, 200, 3, 7, 90, 0, 200, 1, 2, 50, 0, 5, 0, 0, 6, 3, 0})     // restored ranges, holes
	f.Add([]byte{3, 1, 0, 250, 2, 90, 0, 120, 2, 0, 90, 4, 2, 3, 3, 0, 0})        // moves over a range without messages
	f.Fuzz(func(t *testing.T, history []byte) { replay(t, history) })
}

// The same with random histories.
func TestTrackerMatchesSortedSetOnLongHistories(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for n := range 40 {
		history := make([]byte, 60)
		for i := range history {
			history[i] = byte(random.Uint32())
		}
		if !t.Run("", func(t *testing.T) { replay(t, history) }) {
			t.Fatalf("history %d of seed %d: %v", n, seed, history)
		}
	}
}

// sorted is a trivial tracker: all messages in fetch order, which is offset order.
type sorted struct {
	position int64
	offsets  []int64
	settled  []bool
	restored []commit.Range
}

// replay runs a history decoded from bytes: frontier, number of restored ranges, the ranges, then steps of three bytes.
func replay(t *testing.T, history []byte) {
	t.Helper()
	take := func() byte {
		if len(history) == 0 {
			return 0
		}
		b := history[0]
		history = history[1:]
		return b
	}
	frontier, pairs := int64(take()), make([]byte, 2*(take()%32))
	for i := range pairs {
		pairs[i] = take()
	}
	m := &sorted{position: frontier, restored: ranges(frontier, pairs)}
	tr := commit.NewTracker(&commit.Progress{Frontier: frontier, Ahead: m.restored})
	for step := 0; len(history) > 0 && step < 32; step++ {
		op, a, b := take(), take(), take()
		m.step(t, tr, op, a, b)
		p := tr.Progress()
		if f, ahead := m.progress(); p.Frontier != f || !slices.Equal(p.Ahead, ahead) {
			t.Fatalf("step %d (%d %d %d): frontier %d ahead %v, want %d %v", step, op, a, b, p.Frontier, p.Ahead, f, ahead)
		}
		if s := tr.State(); s.Frontier != p.Frontier || s.Position != m.position || s.Pending != int64(len(m.pending())) {
			t.Fatalf("step %d: state %+v, want position %d, pending %d", step, s, m.position, len(m.pending()))
		}
	}
}

func (m *sorted) step(t *testing.T, tr *commit.Tracker, op, a, b byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(a), uint64(b)))
	pending := m.pending()
	var batch []int64
	switch op % 8 {
	case 0, 1:
		m.track(t, tr, random, int(a)*37, int64(b%4))
		return
	case 2:
		m.position += int64(b)
		if err := tr.Advance(m.position); err != nil {
			t.Fatal(err)
		}
		return
	case 3:
		batch = pending
	case 4: // settles the newest half
		batch = pending[len(pending)/2:]
	case 5: // settles all but the oldest
		batch = pending[min(1, len(pending)):]
	case 6: // settles every a-th
		for i := 0; i < len(pending); i += int(a) + 1 {
			batch = append(batch, pending[i])
		}
	case 7:
		for _, n := range pending {
			if random.IntN(256) >= int(b) {
				batch = append(batch, n)
			}
		}
	}
	if a%2 == 0 {
		slices.Reverse(batch)
	} else {
		random.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	}
	if err := tr.Settle(batch); err != nil {
		t.Fatal(err)
	}
	if len(batch) > 0 {
		if err := tr.Settle(batch[len(batch)/2:][:1]); !errors.Is(err, commit.ErrNotPending) {
			t.Fatalf("second Settle = %v, want ErrNotPending", err)
		}
	}
	for _, n := range batch {
		m.settled[n] = true
	}
}

func (m *sorted) track(t *testing.T, tr *commit.Tracker, random *rand.Rand, n int, holes int64) {
	t.Helper()
	var offsets []int64
	at := m.position
	for range n {
		at += 1 + random.Int64N(holes+1)
		offsets = append(offsets, at-1)
	}
	m.position = at + holes
	first, settled, err := tr.Track(offsets, m.position)
	if err != nil || first != int64(len(m.offsets)) {
		t.Fatalf("Track = %d, %v, want %d", first, err, len(m.offsets))
	}
	for i, o := range offsets {
		want := slices.ContainsFunc(m.restored, func(r commit.Range) bool { return r.From <= o && o < r.To })
		if got := settled != nil && settled[i]; got != want {
			t.Fatalf("settled[%d] = %v, want %v", i, got, want)
		}
		m.offsets, m.settled = append(m.offsets, o), append(m.settled, want)
	}
}

// pending returns the unsettled numbers.
func (m *sorted) pending() []int64 {
	var out []int64
	for n, settled := range m.settled {
		if !settled {
			out = append(out, int64(n))
		}
	}
	return out
}

// progress computes the frontier and the ranges ahead of it from the beginning.
func (m *sorted) progress() (int64, []commit.Range) {
	frontier := m.position
	if n := slices.Index(m.settled, false); n >= 0 {
		frontier = m.offsets[n]
	}
	var all []commit.Range
	for n := 0; n < len(m.offsets); n++ {
		from := n
		for n < len(m.offsets) && m.settled[n] {
			n++
		}
		if n > from && m.offsets[from] > frontier {
			all = append(all, commit.Range{From: m.offsets[from], To: m.offsets[n-1] + 1})
		}
	}
	for _, r := range m.restored {
		if r.From = max(r.From, frontier); r.From < r.To {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b commit.Range) int { return cmp.Compare(a.From, b.From) })
	var out []commit.Range
	for _, r := range all {
		if n := len(out); n > 0 && r.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return frontier, out
}
