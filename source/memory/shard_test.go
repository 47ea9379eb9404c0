package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// TestFetchMatchesSortedOffsets compares a partition with a dumb list under appends, holes, retention and batches of any
// size. A failure prints its seed; -rapid.seed replays it.
func TestFetchMatchesSortedOffsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := memory.NewLog("comments", 1)
		p, err := memory.NewSource(memory.Config{}, log).Accept(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var waiting []keystrand.Message // not fetched yet
		var start, end, position int64
		n := 0
		appendAt := func(t *rapid.T, offset int64) {
			msgs := make([]keystrand.Message, rapid.IntRange(0, 8).Draw(t, "count"))
			for i := range msgs {
				msgs[i].Value = fmt.Appendf(nil, "%d%*s", n, rapid.IntRange(0, 20).Draw(t, "size"), "")
				n++
				m := msgs[i]
				m.Offset = offset + int64(i)
				waiting = append(waiting, m)
			}
			end = offset + int64(len(msgs))
			if got := log.AppendAt(0, offset, msgs...); got != end {
				t.Fatalf("append returned %d, want %d", got, end)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append":   func(t *rapid.T) { appendAt(t, end) },
			"appendAt": func(t *rapid.T) { appendAt(t, end+rapid.Int64Range(0, 5).Draw(t, "hole")) },
			"skip": func(t *rapid.T) {
				hole := rapid.Int64Range(0, 5).Draw(t, "hole")
				end += hole
				log.Skip(0, hole)
			},
			"delete": func(t *rapid.T) {
				before := rapid.Int64Range(0, end+1).Draw(t, "before")
				log.Delete(0, before)
				start = max(start, min(before, end))
				for len(waiting) > 0 && waiting[0].Offset < start {
					waiting = waiting[1:]
				}
			},
			"fetch": func(t *rapid.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if position == end {
					cancel() // nothing there: it would wait
				}
				b := source.Batch{MaxMessages: rapid.IntRange(1, 10).Draw(t, "messages"), MaxBytes: rapid.IntRange(1, 60).Draw(t, "bytes")}
				err := p.Fetch(ctx, &b)
				if position == end {
					if !errors.Is(err, context.Canceled) {
						t.Fatalf("fetch at the end: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want, bytes := 0, 0
				for want < min(len(waiting), b.MaxMessages) {
					bytes += waiting[want].Size()
					if want > 0 && bytes > b.MaxBytes {
						break
					}
					want++
				}
				if len(b.Messages) != want {
					t.Fatalf("%d messages came, want %d", len(b.Messages), want)
				}
				for i := range b.Messages {
					if got, want := &b.Messages[i], &waiting[i]; got.Offset != want.Offset || string(got.Value) != string(want.Value) {
						t.Fatalf("offset %d has %q, want offset %d with %q", got.Offset, got.Value, want.Offset, want.Value)
					}
				}
				waiting = waiting[want:]
				position = end
				if len(waiting) > 0 {
					position = waiting[0].Offset
				}
				if b.Next != position {
					t.Fatalf("Next is %d, want %d", b.Next, position)
				}
			},
		})
	})
}

func TestTimesAreInUTC(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("east", 3600))
	appended := memory.NewLog("t", 1)
	appended.Append(0, keystrand.Message{Time: at})
	for name, log := range map[string]*memory.Log{
		"appended":  appended,
		"generated": memory.Generate("t", 1, 1, func(_ int32, _ int64, m *keystrand.Message) { m.Time = at }),
	} {
		b := fetch(t, accept(t, memory.NewSource(memory.Config{}, log)))
		if len(b.Messages) != 1 || b.Messages[0].Time != at.UTC() {
			t.Errorf("%s: %+v", name, b.Messages)
		}
	}
}
