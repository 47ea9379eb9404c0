package pipeline

import "testing"

func TestInFlightFollowsWorkersByDefault(t *testing.T) {
	for _, c := range []struct{ workers, inFlight, want int }{
		{0, 0, 5_120}, {100, 0, 2_000}, {1, 0, 1_000}, {10_000, 0, 200_000}, {100, 7, 7},
	} {
		if got := (Limits{Workers: c.workers, InFlight: c.inFlight}).withDefaults(); got.InFlight != c.want || got.KeyShare != max(1, c.want/4) {
			t.Errorf("%d workers, InFlight %d: %d in flight with a share of %d, want %d and a quarter of it", c.workers, c.inFlight, got.InFlight, got.KeyShare, c.want)
		}
	}
}
