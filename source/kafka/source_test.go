package kafka_test

import (
	"slices"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

func TestSourceReadsCommitsAndRestartsExactly(t *testing.T) { // seed 31
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 10)
		w.produce(1, 5)
		s := w.source("g")
		ps := w.accept(s, 2)
		if got := w.fetch(ps[0], 10); !slices.Equal(got, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("offsets = %v", got)
		}
		w.commit(ps[0], 3, commit.Range{From: 5, To: 8})
		epoch := ps[0].ID().Epoch
		w.close(s, ps)

		s = w.source("g")
		ps = w.accept(s, 2)
		r := ps[0].Restored()
		if r.Frontier != 3 || !slices.Equal(r.Ahead, []commit.Range{{From: 5, To: 8}}) {
			t.Errorf("restored = %+v, want frontier 3 and 5..8 ahead", r)
		}
		if got := ps[0].ID().Epoch; got <= epoch {
			t.Errorf("epoch = %d after %d", got, epoch)
		}
		if got := w.fetch(ps[0], 7); got[0] != 3 {
			t.Errorf("first offset = %d, want 3", got[0])
		}
		w.close(s, ps)
	})
}
