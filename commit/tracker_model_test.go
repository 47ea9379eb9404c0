package commit_test

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
)

// Compares the tracker with a map, with holes, moves without messages, restored ranges, any settle order and misuse.
// Replay a failure with the flags that rapid prints.
func TestTrackerMatchesMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frontier := rapid.Int64Range(0, 50).Draw(t, "frontier")
		restored := &commit.Progress{
			Log: "log", Epoch: 3, Frontier: frontier,
			Ahead: ranges(frontier, rapid.SliceOfN(rapid.ByteMax(8), 0, 12).Draw(t, "restored")),
		}
		m, tr := newModel(restored), commit.NewTracker(restored)
		before, changed := tr.Progress(), tr.State().Changed

		t.Repeat(map[string]func(*rapid.T){
			"track": func(t *rapid.T) {
				var offsets []int64
				at := m.position
				holes := rapid.SampledFrom([]int64{0, 0, 1, 5}).Draw(t, "holes")
				for range rapid.IntRange(0, 20).Draw(t, "messages") {
					at += rapid.Int64Range(0, holes).Draw(t, "hole")
					offsets = append(offsets, at)
					at++
				}
				next := at + rapid.Int64Range(0, holes).Draw(t, "tail")
				number := int64(len(m.numbers))
				first, settled, err := tr.Track(offsets, next)
				if err != nil || first != number {
					t.Fatalf("Track = %d, %v, want %d, nil", first, err, number)
				}
				for i, o := range offsets {
					if got := settled != nil && settled[i]; got != m.wasSettled(o) {
						t.Fatalf("settled[%d] (offset %d) = %v, want %v", i, o, got, !got)
					}
				}
				m.track(offsets, next)
			},
			"advance": func(t *rapid.T) {
				next := m.position + rapid.Int64Range(0, 20).Draw(t, "by")
				if err := tr.Advance(next); err != nil {
					t.Fatal(err)
				}
				m.track(nil, next)
			},
			"track badly": func(t *rapid.T) {
				at := m.position
				bad := rapid.SampledFrom([][]int64{{at - 1}, {at, at}, {at + 2, at + 1}, {at + 9}}).Draw(t, "offsets")
				if _, _, err := tr.Track(bad, at+9); !errors.Is(err, commit.ErrOrder) {
					t.Fatalf("Track(%v) at %d = %v, want ErrOrder", bad, at, err)
				}
				if err := tr.Advance(at - 1); !errors.Is(err, commit.ErrOrder) {
					t.Fatalf("Advance backwards = %v, want ErrOrder", err)
				}
			},
			"settle": func(t *rapid.T) {
				pending := m.pending()
				if len(pending) == 0 {
					t.Skip("nothing pending")
				}
				n := rapid.IntRange(1, len(pending)).Draw(t, "how many")
				batch := rapid.Permutation(pending).Draw(t, "order")[:n]
				if err := tr.Settle(batch); err != nil {
					t.Fatal(err)
				}
				for _, n := range batch {
					m.settled[m.numbers[n]] = true
				}
			},
			"settle badly": func(t *rapid.T) {
				bad := rapid.Int64Range(-2, int64(len(m.numbers))+2).Draw(t, "number")
				ok := bad >= 0 && bad < int64(len(m.numbers)) && !m.settled[m.numbers[bad]]
				batch := []int64{bad, bad} // once it may be pending, twice it is not
				if err := tr.Settle(batch); !errors.Is(err, commit.ErrNotPending) {
					t.Fatalf("Settle(%v) = %v, want ErrNotPending", batch, err)
				}
				if ok {
					m.settled[m.numbers[bad]] = true
				}
			},
			"": func(t *rapid.T) {
				m.check(t, tr)
				p, c := tr.Progress(), tr.State().Changed
				if c < changed || (c == changed && !reflect.DeepEqual(p, before)) {
					t.Fatalf("Changed = %d, then %d, but progress = %v, then %v", changed, c, before, p)
				}
				before, changed = p, c
				if p.Log != "log" || p.Epoch != 3 {
					t.Fatalf("log, epoch = %q, %d", p.Log, p.Epoch)
				}
			},
		})
	})
}
