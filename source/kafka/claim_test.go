package kafka_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// everyOther settles all but each step-th of n offsets.
func everyOther(n, step int64) (rs []commit.Range) {
	for o := int64(0); o < n; o += step {
		rs = append(rs, commit.Range{From: o + 1, To: o + step})
	}
	return rs
}

// I4: a claim writes the committed progress again, and a crash before the next commit leaves it so.
func TestClaimKeepsWhatIsStored(t *testing.T) {
	for _, c := range []struct {
		name   string
		ranges int64 // offsets that the last owner has settled but for each 64th
		limit  int   // of the brokers, when the next owner claims
		config int   // MetadataLimit of the next owner
		whole  bool
	}{
		{"less than the default", 50_000, 32767, 0, true},
		{"more than twice the default", 500_000, 32767, 0, true},
		{"brokers that accept just that much", 500_000, 20_890, 0, true},
		{"brokers that accept less now", 500_000, 4096, 0, false},
		{"brokers that accept nothing now", 500_000, 0, 0, false},
		{"a configured limit", 500_000, 32767, 5000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				s := w.source("g")
				ps := w.accept(s, 1)
				ahead := everyOther(c.ranges, 64)
				stored := w.commit(ps[0], 0, ahead...)
				for range 5 {
					if !stored.More {
						break
					}
					stored = w.commit(ps[0], 0, ahead...)
				}
				_, before := w.stored("g", 0)
				if stored.More || stored.Replays != 0 {
					t.Fatalf("the last owner has stored %+v in %d bytes", stored, len(before))
				}
				w.close(s, ps)

				w.tooLarge(c.limit)
				s = w.source("g", func(cfg *kafka.Config) { cfg.MetadataLimit = c.config })
				ps = w.accept(s, 1)
				_, text := w.stored("g", 0)
				claimer, ok := ps[0].(source.Claimer)
				if !ok {
					t.Fatal("the partition is no Claimer")
				}
				claimed := claimer.Claimed()
				kept := &commit.Progress{}
				if text != "" {
					var err error
					if kept, err = commit.Decode(text); err != nil {
						t.Fatal(err)
					}
				}
				if whole := slices.Equal(kept.Ahead, ahead); whole != c.whole || (claimed.Replays == 0) != c.whole {
					t.Errorf("the claim keeps %d of %d ranges in %d of %d bytes, and reports %+v", len(kept.Ahead), len(ahead), len(text), len(before), claimed)
				}
				if c.limit == 4096 && len(text) < 4000 {
					t.Errorf("%d bytes are used where %d are allowed", len(text), c.limit)
				}
				if lost := settledIn(ahead) - settledIn(kept.Ahead); claimed.Replays != lost {
					t.Errorf("the claim reports %d replays, want %d", claimed.Replays, lost)
				}
				w.close(s, ps)
			})
		})
	}
}

// A member has once learned that the brokers accept less. They were restarted with a larger limit, and another member has stored
// more.
func TestClaimKeepsWhatIsStoredAfterBrokersAcceptMore(t *testing.T) {
	for _, limit := range []int{4096, 0} {
		t.Run(fmt.Sprintf("before up to %d bytes", limit), func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				t := w.t
				a := w.source("g")
				ps := w.accept(a, 2)
				refusing := w.tooLarge(limit)
				ahead := everyOther(500_000, 64)
				if stored := w.commit(ps[0], 0, ahead...); stored.Replays == 0 {
					t.Fatalf("stored %+v", stored)
				}
				refusing.Remove()

				b := w.source("g")
				joined := w.join(b, 1)
				w.follow(ps)
				ps = w.accept(a, 1)
				others := <-joined
				for n, p := range others {
					for stored := (commit.Stored{More: true}); stored.More; {
						stored = w.commit(p, 0, ahead...)
					}
					w.close(b, others)
					w.follow(ps)
					ps = w.accept(a, 2)
					_, text := w.stored("g", n)
					if kept, err := commit.Decode(text); err != nil || !slices.Equal(kept.Ahead, ahead) {
						t.Errorf("the claim has %d bytes, which are not all that was stored: %v", len(text), err)
					}
				}
				w.close(a, ps)
			})
		})
	}
}

// A commit that cannot have all of its progress has what an earlier one has stored, also after a restart.
func TestCommitKeepsWhatAnEarlierOneHasStored(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		limited := func(cfg *kafka.Config) { cfg.MetadataLimit = 300 }
		s := w.source("g", limited)
		ps := w.accept(s, 1)
		first := commit.Range{From: 5000, To: 9000}
		if stored := w.commit(ps[0], 0, first); stored.Replays != 0 {
			t.Fatalf("stored %+v", stored)
		}
		more := append(everyOther(4998, 3), first)
		for range 2 {
			if stored := w.commit(ps[0], 0, more...); stored.Replays == 0 {
				t.Fatalf("all of %d ranges fit", len(more))
			}
			w.close(s, ps)
			s = w.source("g", limited)
			ps = w.accept(s, 1)
			if r := ps[0].Restored(); !slices.Equal(r.Ahead, []commit.Range{first}) {
				t.Errorf("restored is %v, want %v", r, first)
			}
		}
		w.close(s, ps)
	})
}

func settledIn(rs []commit.Range) (n int64) {
	for _, r := range rs {
		n += r.To - r.From
	}
	return n
}

// A pipeline commits again as long as More is true, so it must become false.
func TestStoredMoreEnds(t *testing.T) {
	for _, limit := range []int{32767, 20_000, 8192, 6000, 4096, 1000, 40, 0} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				t := w.t
				w.tooLarge(limit)
				s := w.source("g")
				ps := w.accept(s, 2)
				for _, p := range ps {
					commits := 1
					stored := w.commit(p, 0, ranges(20000)...)
					for ; stored.More && commits < 10; commits++ {
						stored = w.commit(p, 0, ranges(20000)...)
					}
					if commits > 4 || stored.Replays == 0 {
						t.Errorf("%v: %+v after %d commits", p.ID(), stored, commits)
					}
				}
				if _, text := w.stored("g", 1); len(text) > limit || len(text) < min(limit, 32767)/4-60 {
					t.Errorf("%d bytes are stored, want nearly %d", len(text), limit)
				}
				w.close(s, ps)
			})
		})
	}
}
