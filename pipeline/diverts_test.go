package pipeline

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// The pool of windows gives no more than it has, something while it has any, and has all again once all is given back.
func TestPoolOfWindowsMatchesDumbModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x diverts
		c := config{batches: rapid.Bool().Draw(t, "batches")}
		c.limits = Limits{
			InFlight: rapid.IntRange(1, 20_000).Draw(t, "InFlight"), InFlightBytes: rapid.IntRange(1, 64<<20).Draw(t, "InFlightBytes"),
			MaxBatch: rapid.IntRange(1, 64).Draw(t, "MaxBatch"),
		}
		x.init(c)
		all := budget.Usage{Messages: max(1, c.limits.InFlight/8), Bytes: max(1, c.limits.InFlightBytes/8)}
		if c.batches {
			all.Messages = max(all.Messages, 256*c.limits.MaxBatch)
		}
		free, taken := all, []budget.Usage(nil)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				u := budget.Usage{Messages: rapid.IntRange(1, 300).Draw(t, "messages"), Bytes: rapid.IntRange(1, 4<<20).Draw(t, "bytes")}
				got := x.take(u)
				none := free.Messages <= 0 || free.Bytes <= 0
				switch {
				case none && got != (budget.Usage{}), got.Messages > u.Messages, got.Bytes > u.Bytes:
					t.Fatalf("take(%+v) = %+v of %+v", u, got, free)
				case !none && (got.Messages < min(u.Messages, free.Messages, 1) || got.Messages > free.Messages || got.Bytes < 1 || got.Bytes > free.Bytes):
					t.Fatalf("take(%+v) = %+v of %+v", u, got, free)
				}
				free = budget.Usage{Messages: free.Messages - got.Messages, Bytes: free.Bytes - got.Bytes}
				taken = append(taken, got)
			},
			"give": func(t *rapid.T) {
				if len(taken) == 0 {
					t.Skip("nothing is taken")
				}
				u := taken[0]
				taken = taken[1:]
				x.give(u)
				free = free.Plus(u)
			},
			"a message is larger than its room": func(t *rapid.T) {
				if len(taken) == 0 {
					t.Skip("nothing is taken")
				}
				more := rapid.IntRange(1, 1<<20).Draw(t, "more")
				x.give(budget.Usage{Bytes: -more})
				taken[0].Bytes += more
				free.Bytes -= more
			},
			"": func(t *rapid.T) {
				if x.room != free || x.all != all {
					t.Fatalf("room %+v of %+v, want %+v of %+v", x.room, x.all, free, all)
				}
				if ample := free.Messages >= all.Messages/2 && free.Bytes >= all.Bytes/2; x.ample() != ample {
					t.Fatalf("ample() = %v with %+v of %+v", !ample, free, all)
				}
			},
		})
		for _, u := range taken {
			x.give(u)
		}
		if x.room != all {
			t.Fatalf("room %+v after all is given back, want %+v", x.room, all)
		}
	})
}
