package pulsar

import (
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// singles takes messages of entries of their own, with offsets from first on.
func singles(h *handed, first, n int64) {
	for o := first; o < first+n; o++ {
		h.take(&testID{ledger: 1, entry: o, size: 1}, o)
	}
}

// A key that is blocked holds the frontier for as long as an operator lets it, and everything else goes on.
func TestWhatIsAcknowledgedBehindABlockedKeyTakesNoMemory(t *testing.T) {
	h := newHanded(&commit.Progress{})
	const rounds, each = 200, 100
	singles(h, 0, 1)
	for round := range int64(rounds) {
		singles(h, 1+round*each, each)
		end := 1 + (round+1)*each
		h.confirm(h.plan(&commit.Progress{Ahead: []commit.Range{{From: 1, To: end}}}, maxRequest, false))
	}
	if n := cap(h.entries); n > 10*each {
		t.Errorf("room for %d entries is kept: one message of %d is not acknowledged", n, rounds*each)
	}
	h.confirm(h.plan(&commit.Progress{Frontier: 1 + rounds*each}, maxRequest, false))
	if n := len(h.entries); n > 1 {
		t.Errorf("%d entries are kept although all is acknowledged", n)
	}
}

// What does not fit into a request is looked at when its turn comes, not each time.
func TestRequestCostsWhatItSays(t *testing.T) {
	h := newHanded(&commit.Progress{})
	singles(h, 0, 5000)
	p := &commit.Progress{Frontier: 5000}
	if n := testing.AllocsPerRun(10, func() { h.plan(p, 10, false) }); n > 500 { // others of the process count, too
		t.Errorf("a request of 10 entries, with 5,000 settled, takes %v allocations", n)
	}
}

// Between entries that do not adjoin is what an earlier owner has acknowledged. To move the cursor over it could lose that, too.
func TestFirstRequestsDoNotMoveTheCursorOverAGap(t *testing.T) {
	h := newHanded(&commit.Progress{})
	singles(h, 0, 2)
	singles(h, 3, 2)
	p := &commit.Progress{Frontier: 5}
	q := h.plan(p, maxRequest, true)
	if len(q.ids) != 1 || q.ids[0].EntryID() != 0 || !q.held {
		t.Errorf("first acknowledged are %v, held %t; want 0, and what is behind held back: behind 1 is a gap", q, q.held)
	}
	h.confirm(q)
	if q := h.plan(p, maxRequest, true); len(q.ids) != 0 || !q.held {
		t.Errorf("then acknowledged are %v, held %t; want none", q, q.held)
	}
	if q := h.plan(p, maxRequest, false); len(q.ids) != 3 || q.held {
		t.Errorf("in the end acknowledged are %v, held %t; want 1, 3 and 4", q, q.held)
	}
}

// The same within a batch that comes in part: another program has acknowledged single messages of it.
func TestFirstRequestsDoNotMoveTheCursorOverABatchThatComesInPart(t *testing.T) {
	h := newHanded(&commit.Progress{})
	singles(h, 0, 1)
	for i := range int32(2) {
		h.take(&testID{ledger: 1, entry: 1, batch: 1 + i, size: 3}, 2+int64(i))
	}
	h.take(&testID{ledger: 1, entry: 2, size: 1}, 4)
	p := &commit.Progress{Frontier: 5}
	if q := h.plan(p, maxRequest, true); len(q.ids) != 1 || q.ids[0].EntryID() != 0 || !q.held {
		t.Errorf("first acknowledged are %v, held %t; want 0, and what is behind held back", q, q.held)
	}
}
