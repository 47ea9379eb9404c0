package commit

import "testing"

// A tracker whose messages are all settled keeps no block, and continues as if nothing had happened.
func TestTrimKeepsNoBlockWhenEverythingIsSettled(t *testing.T) {
	tr := NewTracker(nil)
	first, _, err := tr.Track([]int64{0, 1, 2}, 3)
	if err != nil {
		t.Fatal(err)
	}
	tr.Trim() // messages are pending
	if err := tr.Settle([]int64{first, first + 1, first + 2}); err != nil {
		t.Fatal(err)
	}
	tr.Trim()
	if len(tr.slots) != 0 || len(tr.free) != 0 {
		t.Errorf("%d blocks and %d spare ones are left", len(tr.slots), len(tr.free))
	}
	first, _, err = tr.Track([]int64{5, 6, 9}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Settle([]int64{first + 1}); err != nil {
		t.Fatal(err)
	}
	p, s := tr.Progress(), tr.State()
	if p.Frontier != 5 || len(p.Ahead) != 1 || p.Ahead[0] != (Range{6, 7}) || s.Pending != 2 || s.Ahead != 1 {
		t.Errorf("progress %v, state %+v", p, s)
	}
	if tr.Settle([]int64{0}) == nil {
		t.Error("a message was settled twice without an error")
	}
	if err := tr.Settle([]int64{first, first + 2}); err != nil {
		t.Fatal(err)
	}
	if p := tr.Progress(); p.Frontier != 10 {
		t.Errorf("frontier %d, want 10", p.Frontier)
	}
}
