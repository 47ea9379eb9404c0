package commit_test

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/commit"
)

// Six messages are fetched from a log without messages at 13 and 14. Offset 11 is still being handled when the process
// ends; the restart redelivers 11 alone.
func ExampleTracker() {
	t := commit.NewTracker(&commit.Progress{Log: "orders#1", Epoch: 7, Frontier: 10})
	first, _, err := t.Track([]int64{10, 11, 12, 15, 16, 17}, 18)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Numbers have no gaps where offsets skip: first, first+1, ...
	if err := t.Settle([]int64{first + 5, first, first + 3, first + 2, first + 4}); err != nil {
		fmt.Println(err)
		return
	}
	p := t.Progress()
	fmt.Println("frontier", p.Frontier, "ahead", p.Ahead)

	// The next owner continues from the frontier and drops the settled messages.
	next := commit.NewTracker(p)
	offsets := []int64{11, 12, 15, 16, 17, 18}
	_, settled, err := next.Track(offsets, 19)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, o := range offsets {
		if settled == nil || !settled[i] {
			fmt.Println("handle", o)
		}
	}
	// Output:
	// frontier 11 ahead [{12 18}]
	// handle 11
	// handle 18
}

func ExampleEncode() {
	p := &commit.Progress{Log: "orders#1", Epoch: 7, Frontier: 1000, Ahead: []commit.Range{{From: 1001, To: 250_000}}}
	text, stored := commit.Encode(p, 4096)
	fmt.Println(text, stored.Replays)

	text, stored = commit.Encode(p, 33) // only the head fits
	fmt.Println(text, stored.Replays)
	// Output:
	// ks:1:0A8OCG9yZGVycyMxAgGnmQ8Gh1cM 0
	// ks:1:0A8OCG9yZGVycyMxA289yw 248999
}

func ExampleDecode() {
	text, _ := commit.Encode(&commit.Progress{Log: "orders#1", Frontier: 1000, Ahead: []commit.Range{{From: 1001, To: 1500}}}, 0)
	p, err := commit.Decode(text)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Log, p.Frontier, p.Ahead)

	_, err = commit.Decode(text[:len(text)-4])
	fmt.Println(errors.Is(err, commit.ErrCorrupt))
	_, err = commit.Decode("consumer-1@host")
	fmt.Println(errors.Is(err, commit.ErrForeign))
	// Output:
	// orders#1 1000 [{1001 1500}]
	// true
	// true
}
