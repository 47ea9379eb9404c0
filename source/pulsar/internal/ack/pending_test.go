package ack

import (
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// singles delivers n single messages, with offsets from first on.
func singles(h *pending, first, n int64) {
	for o := first; o < first+n; o++ {
		h.take(&testID{ledger: 1, entry: o, size: 1}, o)
	}
}

// A blocked key holds the frontier until an operator acts. All other keys go on.
func TestPendingDropsEntriesAcknowledgedBehindABlockedKey(t *testing.T) {
	h := &pending{}
	const rounds, each = 200, 100
	singles(h, 0, 1)
	for round := range int64(rounds) {
		singles(h, 1+round*each, each)
		end := 1 + (round+1)*each
		h.confirm(h.plan(&commit.Progress{Ahead: []commit.Range{{From: 1, To: end}}}, maxRequest, false))
	}
	if n := cap(h.entries); n > 10*each {
		t.Errorf("capacity for %d entries, with 1 unacknowledged message of %d", n, rounds*each)
	}
	h.confirm(h.plan(&commit.Progress{Frontier: 1 + rounds*each}, maxRequest, false))
	if n := len(h.entries); n > 1 {
		t.Errorf("%d entries are kept, want at most 1: all are acknowledged", n)
	}
}

// Each plan looks only at entries that fit the request.
func TestPlanStopsAtTheLimit(t *testing.T) {
	h := &pending{}
	singles(h, 0, 5000)
	p := &commit.Progress{Frontier: 5000}
	if n := testing.AllocsPerRun(10, func() { h.plan(p, 10, false) }); n > 500 { // the runtime counts too
		t.Errorf("plan of 10 entries among 5,000 settled ones made %v allocations", n)
	}
}

// An earlier owner has acknowledged the entries in a gap. To move the cursor over them could lose that.
func TestFirstRequestsDoNotMoveTheCursorOverAGap(t *testing.T) {
	h := &pending{}
	singles(h, 0, 2)
	singles(h, 3, 2)
	p := &commit.Progress{Frontier: 5}
	q := h.plan(p, maxRequest, true)
	if len(q.ids) != 1 || q.ids[0].EntryID() != 0 || !q.held {
		t.Errorf("first request = %v, held %t; want entry 0, and the rest held: entry 1 ends at a gap", q, q.held)
	}
	h.confirm(q)
	if q := h.plan(p, maxRequest, true); len(q.ids) != 0 || !q.held {
		t.Errorf("second request = %v, held %t; want none, held", q, q.held)
	}
	if q := h.plan(p, maxRequest, false); len(q.ids) != 3 || q.held {
		t.Errorf("last request = %v, held %t; want 1, 3 and 4", q, q.held)
	}
}

// Another program has acknowledged single messages of the batch.
func TestFirstRequestsDoNotMoveTheCursorOverAPartlyDeliveredBatch(t *testing.T) {
	h := &pending{}
	singles(h, 0, 1)
	for i := range int32(2) {
		h.take(&testID{ledger: 1, entry: 1, batch: 1 + i, size: 3}, 2+int64(i))
	}
	h.take(&testID{ledger: 1, entry: 2, size: 1}, 4)
	p := &commit.Progress{Frontier: 5}
	if q := h.plan(p, maxRequest, true); len(q.ids) != 1 || q.ids[0].EntryID() != 0 || !q.held {
		t.Errorf("first request = %v, held %t; want entry 0, and the rest held", q, q.held)
	}
}
