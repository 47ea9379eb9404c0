package progress_test

import (
	"fmt"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

func ExampleRestore() {
	text, _ := commit.Encode(&commit.Progress{Log: "a", Epoch: 7, Frontier: 5, Ahead: []commit.Range{{From: 6, To: 8}}}, 0)
	for _, c := range []struct {
		name, log string
		progress.Committed
	}{
		{"our commit", "a", progress.Committed{Offset: 5, Metadata: text}},
		{"a tool moved the offset", "a", progress.Committed{Offset: 3}},
		{"topic created again", "b", progress.Committed{Offset: 5, Metadata: text}},
	} {
		r := progress.Restore(c.Committed, c.log)
		fmt.Printf("%s: known=%v frontier=%d ahead=%v epoch=%d\n", c.name, r.Known, r.Frontier, r.Ahead, r.Epoch)
	}
	// Output:
	// our commit: known=true frontier=5 ahead=[{6 8}] epoch=7
	// a tool moved the offset: known=true frontier=3 ahead=[] epoch=0
	// topic created again: known=false frontier=0 ahead=[] epoch=7
}
