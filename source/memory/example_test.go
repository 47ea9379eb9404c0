package memory_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// A restart begins where the crashed source has committed, and knows what was settled ahead of that.
func Example() {
	ctx := context.Background()
	log := memory.NewLog("comments", 1)
	for _, text := range []string{"first", "second", "third", "fourth"} {
		log.Append(0, keystrand.Message{Key: []byte("post-1"), Value: []byte(text)})
	}
	log.Close()

	src := memory.NewSource(memory.Config{}, log)
	p, err := src.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := source.Batch{MaxMessages: 10, MaxBytes: 1000}
	if err := p.Fetch(ctx, &b); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.ID(), "has", len(b.Messages), "messages")

	// The second message is stuck in its handler, the third is settled.
	progress := *p.Restored()
	progress.Frontier, progress.Ahead = 1, []commit.Range{{From: 2, To: 3}}
	if _, err := p.Commit(ctx, &progress); err != nil {
		fmt.Println(err)
		return
	}
	src.Crash()

	src = memory.NewSource(memory.Config{}, log)
	if p, err = src.Accept(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.ID(), "goes on at", p.Restored().Frontier, "without", p.Restored().Ahead)
	// Output:
	// comments/0#1 has 4 messages
	// comments/0#2 goes on at 1 without [{2 3}]
}
