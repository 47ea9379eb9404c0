package keyed_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/keyed"
)

// Four workers run different lanes concurrently and each lane in order.
func ExampleExecutor_perKeyOrder() {
	balance := map[string]*int{"alice": new(int), "bob": new(int)}
	type booking struct {
		account string
		apply   func(balance int) int
	}
	e, err := keyed.New(keyed.Config[booking]{
		Workers: 4,
		Run: func(t *keyed.Turn[booking]) keyed.Result {
			for _, b := range t.Items {
				account := balance[b.account] // no lock: no other turn of this lane runs
				*account = b.apply(*account)
			}
			return keyed.Result{Done: len(t.Items)}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	q := e.Open(keyed.ID{Name: "bookings"}, nil)
	batch := q.Batch()
	for _, account := range []string{"alice", "bob"} {
		*batch.Add(account) = booking{account, func(b int) int { return b + 10 }}
		*batch.Add(account) = booking{account, func(b int) int { return b * 3 }}
	}
	barrier := batch.AddBarrier() // runs alone, after all items before it
	*barrier = booking{"alice", func(b int) int {
		fmt.Println("alice", b, "bob", *balance["bob"])
		return b
	}}
	if err := q.Submit(batch); err != nil {
		fmt.Println(err)
	}
	for q.Counts().Finished < 5 {
		_ = q.Wait(context.Background())
	}
	if err := e.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: alice 30 bob 30
}
