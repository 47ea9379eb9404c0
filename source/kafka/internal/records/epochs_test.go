package records

import "testing"

func TestEpochsKnowTheLeaderEpochOfTheRecordBelow(t *testing.T) {
	var e Epochs
	if got := e.Below(100); got != -1 {
		t.Errorf("nothing read: epoch %d, want -1, never 0", got)
	}
	for offset := range int64(100) {
		e.see(10+offset, int32(offset/10)*3)
	}
	if len(e.marks) != 10 {
		t.Errorf("%d marks for 10 leaders", len(e.marks))
	}
	for _, c := range []struct {
		frontier int64
		epoch    int32
	}{{9, -1}, {10, -1}, {11, 0}, {20, 0}, {21, 3}, {50, 9}, {51, 12}, {500, 27}, {500, 27}} {
		if got := e.Below(c.frontier); got != c.epoch {
			t.Errorf("frontier %d: epoch %d, want %d", c.frontier, got, c.epoch)
		}
	}
	for i := range int64(1000) {
		e.see(1000+i, int32(100+i))
	}
	if got := e.Below(1500); len(e.marks) > maxMarks || got != -1 {
		t.Errorf("%d marks; a forgotten epoch is %d, want -1", len(e.marks), got)
	}
	if got := e.Below(2000); got != 1099 {
		t.Errorf("epoch %d", got)
	}
}
