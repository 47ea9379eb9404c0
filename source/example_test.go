package source_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// What a pipeline does with a source, by hand: accept a partition, fetch, commit what is settled, release.
func ExampleSource() {
	ctx := context.Background()
	log := memory.NewLog("comments", 1)
	log.Append(0, keystrand.Message{Key: []byte("post-1"), Value: []byte("first")}, keystrand.Message{Key: []byte("post-2"), Value: []byte("second")})

	var src source.Source = memory.NewSource(memory.Config{}, log)
	p, err := src.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := source.Batch{MaxMessages: 100, MaxBytes: 1 << 20}
	if err := p.Fetch(ctx, &b); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s begins at %d: %d messages, next is %d\n", p.ID().Stream, p.Restored().Frontier, len(b.Messages), b.Next)

	// Message 1 is settled, message 0 is not: the frontier stays, and a restart will not see message 1 again.
	stored, err := p.Commit(ctx, &commit.Progress{
		Log: p.Restored().Log, Epoch: p.ID().Epoch,
		Frontier: 0, Ahead: []commit.Range{{From: 1, To: 2}},
	})
	fmt.Println("a crash would replay", stored.Replays, "settled messages:", err)
	fmt.Println("released:", p.Release(ctx), src.Close())

	restarted := memory.NewSource(memory.Config{}, log)
	p, err = restarted.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("restored:", p.Restored().Frontier, p.Restored().Ahead)
	fmt.Println("released:", p.Release(ctx), restarted.Close())
	// Output:
	// comments begins at 0: 2 messages, next is 2
	// a crash would replay 0 settled messages: <nil>
	// released: <nil> <nil>
	// restored: 0 [{1 2}]
	// released: <nil> <nil>
}
