package commit_test

import (
	"testing"

	"github.com/keystrand/keystrand/commit"
)

func TestProgressSettledIsExactAtEveryEdge(t *testing.T) {
	p := &commit.Progress{Frontier: 10, Ahead: []commit.Range{{From: 12, To: 14}, {From: 20, To: 21}}}
	for offset, want := range map[int64]bool{-1: true, 9: true, 10: false, 11: false, 12: true, 13: true, 14: false, 19: false, 20: true, 21: false} {
		if got := p.Settled(offset); got != want {
			t.Errorf("Settled(%d) = %v, want %v", offset, got, want)
		}
	}
}

// The place of the restored progress is at or before every later frontier.
func TestTrackerKeepsTheRestoredPlace(t *testing.T) {
	tr := commit.NewTracker(&commit.Progress{Log: "shop", Epoch: 3, Frontier: 10, At: "mysql-bin.000007:4"})
	for i := range int64(3) {
		if p := tr.Progress(); p.At != "mysql-bin.000007:4" || p.Frontier != 10+i {
			t.Fatalf("progress = %+v, want the restored place and frontier %d", p, 10+i)
		}
		number, _, err := tr.Track([]int64{10 + i}, 11+i)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Settle([]int64{number}); err != nil {
			t.Fatal(err)
		}
	}
	if p := commit.NewTracker(nil).Progress(); p.At != "" {
		t.Errorf("a new log begins at the place %q", p.At)
	}
}
