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
	h := newHanded(false, &commit.Progress{})
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
	h := newHanded(false, &commit.Progress{})
	singles(h, 0, 5000)
	p := &commit.Progress{Frontier: 5000}
	if n := testing.AllocsPerRun(10, func() { h.plan(p, 10, false) }); n > 50 {
		t.Errorf("a request of 10 entries, with 5,000 settled, takes %v allocations", n)
	}
}
