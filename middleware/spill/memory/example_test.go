package memory_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
)

func Example() {
	ctx := context.Background()
	s := memory.New()
	l, _, err := s.Open(ctx, spill.Owner{Stream: "comments", Epoch: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, offset := range []int64{7, 5, 7} { // 7 comes again after a lost reply
		m := keystrand.Message{Stream: "comments", Offset: offset, Key: []byte("post-1")}
		if err := l.Append(ctx, []spill.Record{{Key: "post-1", From: 5, Message: m}}); err != nil {
			fmt.Println(err)
		}
	}
	// The next owner finds the strand, and the records in the order of their offsets.
	l, strands, err := s.Open(ctx, spill.Owner{Stream: "comments", Epoch: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strands[0].Key, strands[0].Records)
	ms, err := l.Read(ctx, "post-1", -1, spill.Size{Messages: 10})
	for i := range ms {
		fmt.Println(ms[i].Offset)
	}
	fmt.Println(err)
	// Output:
	// post-1 2
	// 5
	// 7
	// <nil>
}
