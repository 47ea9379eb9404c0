package commit_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
)

// What one commit has stored, each later one stores, also of a later owner, whatever is settled meanwhile and in which order.
// Replay a failure with the flags that rapid prints.
func TestEncodeAfterKeepsWhatEarlierTextsHave(t *testing.T) {
	fell, gained := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		frontier := rapid.Int64Range(-100, 1<<40).Draw(t, "frontier")
		p := &commit.Progress{
			Log: rapid.SampledFrom([]string{"", "orders#1"}).Draw(t, "log"), Epoch: rapid.Int64Range(0, 1<<40).Draw(t, "epoch"), Frontier: frontier,
			At: rapid.SampledFrom([]string{"", "0-1-270"}).Draw(t, "at"),
		}
		empty, _ := commit.Encode(p, 0)
		limit := len(empty) + 8 + rapid.IntRange(0, 120).Draw(t, "room")
		n := rapid.IntRange(1, 700).Draw(t, "messages")
		settled := make([]bool, n)
		before, kept := "", &commit.Progress{Frontier: frontier}
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			settle(settled, rapid.IntRange(0, n).Draw(t, "from"), rapid.IntRange(1, 9).Draw(t, "step"), rapid.IntRange(0, 200).Draw(t, "settled"))
			progressOf(p, frontier, settled)
			p.Epoch += rapid.Int64Range(0, 1).Draw(t, "owner")

			text, stored := commit.EncodeAfter(before, p, limit)
			if len(text) > limit {
				t.Fatalf("%d bytes, limit %d", len(text), limit)
			}
			now, err := commit.Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			replays := int64(0)
			for i, done := range settled {
				o := frontier + int64(i)
				switch {
				case kept.Settled(o) && !now.Settled(o):
					t.Fatalf("offset %d was stored, and is not in %v, limit %d, after %v", o, now, limit, kept)
				case now.Settled(o) && !done:
					t.Fatalf("offset %d is stored, and not settled", o)
				case done && !now.Settled(o):
					replays++
				}
			}
			if stored != (commit.Stored{Frontier: p.Frontier, Replays: replays}) {
				t.Fatalf("stored %+v, want %d replays", stored, replays)
			}
			nearest, _ := commit.Encode(p, limit-16)
			if text != nearest {
				fell++
			} else if replays > 0 {
				gained++
			}
			before, kept = text, now
		}
	})
	if fell < 20 || gained < 20 {
		t.Errorf("%d texts kept the ranges of an earlier one, %d had others: too few to show anything", fell, gained)
	}
}

// settle settles every step-th message from one on, up to n of them.
func settle(settled []bool, from, step, n int) {
	for i := from; i < len(settled) && n > 0; i += step {
		settled[i] = true
		n--
	}
}

// progressOf sets the frontier and the ranges of messages without holes.
func progressOf(p *commit.Progress, first int64, settled []bool) {
	p.Frontier, p.Ahead = first, nil
	for i, done := range settled {
		o := first + int64(i)
		last := len(p.Ahead) - 1
		switch {
		case !done:
		case o == p.Frontier:
			p.Frontier++
		case last >= 0 && p.Ahead[last].To == o:
			p.Ahead[last].To++
		default:
			p.Ahead = append(p.Ahead, commit.Range{From: o, To: o + 1})
		}
	}
}

func TestEncodeAfterIgnoresWhatIsNotOfItsLog(t *testing.T) {
	p := &commit.Progress{Log: "log", Frontier: 100, Ahead: []commit.Range{{From: 101, To: 102}, {From: 104, To: 105}, {From: 1000, To: 2000}}}
	whole, _ := commit.Encode(p, 0)
	limit := len(whole) + 10
	want, wanted := commit.Encode(p, limit-16)
	if wanted.Replays == 0 {
		t.Fatal("all of it fits")
	}
	other, _ := commit.Encode(&commit.Progress{Log: "log", Ahead: []commit.Range{{From: 103, To: 104}}}, 0)
	for _, before := range []string{"", "consumer-1", whole[:len(whole)-1], other} {
		if text, stored := commit.EncodeAfter(before, p, limit); text != want || stored != wanted {
			t.Errorf("after %q: %q, %+v, want %q, %+v", before, text, stored, want, wanted)
		}
	}
	if text, stored := commit.EncodeAfter(whole, p, limit); text != whole || stored.Replays != 0 {
		t.Errorf("after all of it: %q, %+v, want all of it", text, stored)
	}
}

func TestEncodeAfterLeavesRoomForNumbersThatGrow(t *testing.T) {
	var ahead []commit.Range
	for o := int64(65); o < 400; o += 2 {
		ahead = append(ahead, commit.Range{From: o, To: o + 1})
	}
	for limit := 40; limit < 80; limit++ {
		p := &commit.Progress{Frontier: 63, Epoch: 63, Ahead: ahead} // 63 is the last number of one byte
		before, stored := commit.EncodeAfter("", p, limit)
		p.Frontier, p.Epoch = 64, 64
		_, later := commit.EncodeAfter(before, p, limit)
		if stored.Replays == 0 || later.Replays > stored.Replays {
			t.Errorf("limit %d: %d and then %d replays, want no more", limit, stored.Replays, later.Replays)
		}
	}
}
