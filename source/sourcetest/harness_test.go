package sourcetest

import "testing"

func TestHarnessFindsThePartitionAcceptedJustBeforeAcceptEnds(t *testing.T) {
	for range 20 { // a select between two closed channels chooses at random
		h, ended := newHarness(Env{}), make(chan struct{})
		first, last := &holding{}, &holding{}
		h.all = []*holding{first}
		n, err := h.find(t.Context(), ended, func(n *holding) bool {
			if len(h.all) == 1 {
				h.all = append(h.all, last)
				close(h.changed)
				close(ended)
			}
			return n == last
		})
		if n != last || err != nil {
			t.Fatalf("found %p, %v; want the last partition, %p", n, err, last)
		}
	}
}
