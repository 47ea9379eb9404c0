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
