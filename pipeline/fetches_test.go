package pipeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Compares the times with a list of all. The oldest message has its own time, and memory is bounded.
func TestFetchesKnowsTheTimeOfTheOldestMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fetches
		start := time.Unix(1000, 0)
		now := start
		var all []time.Time // of each message
		oldest := 0
		pending := func() int64 {
			if oldest == len(all) {
				return -1
			}
			return int64(oldest)
		}
		t.Repeat(map[string]func(*rapid.T){
			"fetch": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "batches") {
					now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
					f.add(int64(len(all)), now, pending)
					for range rapid.IntRange(1, 3).Draw(t, "messages") {
						all = append(all, now)
					}
				}
			},
			"settle": func(t *rapid.T) {
				oldest += rapid.IntRange(0, len(all)-oldest).Draw(t, "messages")
			},
			"trim": func(*rapid.T) { f.trim(pending()) },
			"": func(t *rapid.T) {
				if len(f.times) > mostTimes {
					t.Fatalf("%d times are kept", len(f.times))
				}
				if pending() < 0 {
					if age := f.age(-1, now); age != 0 {
						t.Fatalf("age %v without a message", age)
					}
					return
				}
				got, want := now.Add(-f.age(pending(), now)), all[oldest]
				if got.After(want) || got.Before(start) {
					t.Fatalf("message %d has the time %v, want %v or earlier", oldest, got, want)
				}
			},
		})
	})
}

// A message that is stuck has its own time, however many batches follow.
func TestFetchesKeepsTheTimeOfAStuckMessage(t *testing.T) {
	var f fetches
	at := time.Unix(1000, 0)
	for i := range int64(10_000) {
		f.add(i, at.Add(time.Duration(i)*time.Second), func() int64 { return min(i, 70) })
	}
	now := at.Add(10_000 * time.Second)
	if age, want := f.age(70, now), 9930*time.Second; age < want || age > want+2*time.Second {
		t.Errorf("age %v, want %v", age, want)
	}
	if cap(f.times) > 2*mostTimes {
		t.Errorf("room for %d times", cap(f.times))
	}
}
