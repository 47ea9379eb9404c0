package livetest_test

import (
	"fmt"

	"github.com/keystrand/keystrand/livetest"
	"github.com/keystrand/keystrand/source"
)

// Two messages of one key; the second was begun before the first had ended.
func ExampleCheck() {
	orders := livetest.Place{Stream: "orders"}
	event := func(k livetest.Kind, offset int64, text string) livetest.Event {
		id := source.ID{Stream: "orders", Epoch: 1}
		return livetest.Event{Kind: k, Member: "a", ID: id, Offset: offset, Key: "ada", Number: offset, Text: text}
	}
	report := livetest.Check(&livetest.History{
		Produced: []livetest.Message{
			{Place: orders, Offset: 0, Key: "ada", Number: 0},
			{Place: orders, Offset: 1, Key: "ada", Number: 1},
		},
		Events: []livetest.Event{
			event(livetest.Accepted, 0, ""),
			event(livetest.Started, 0, ""),
			event(livetest.Started, 1, ""),
			event(livetest.Finished, 0, livetest.Settled),
			event(livetest.Finished, 1, livetest.Settled),
		},
	})
	fmt.Print(report)
	// Output:
	// order per key: a started orders/0#1@1 key ada: offset 0 of the key is not settled
	// serial per key: a started orders/0#1@1 key ada: offset 0 of the key is running in a, epoch 1
}
