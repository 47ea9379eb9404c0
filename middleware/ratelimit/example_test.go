package ratelimit_test

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/ratelimit"
)

func send(_ context.Context, c *keystrand.Call) error {
	fmt.Println("sent", c.Messages[0].Offset)
	return nil
}

// The handler calls a service that permits one call an hour, and two at once.
func ExampleNew() {
	chain := keystrand.Chain(send, ratelimit.New(rate.NewLimiter(rate.Limit(1.0/3600), 2)))
	for offset := range int64(3) {
		err := chain(context.Background(), keystrand.NewCall(&keystrand.Message{Stream: "orders", Offset: offset}))
		if outcome, _ := keystrand.OutcomeOf(err); outcome == keystrand.OutcomePostponed {
			fmt.Println(outcome, offset)
		}
	}
	// Output:
	// sent 0
	// sent 1
	// postponed 2
}

// Each customer has a limit of its own, and internal ones have none.
func ExampleBy() {
	customer := func(m *keystrand.Message) string {
		id, _ := m.Header("customer")
		return string(id)
	}
	limiter := func(customer string) *rate.Limiter {
		if customer == "internal" {
			return nil
		}
		return rate.NewLimiter(rate.Limit(1.0/3600), 1)
	}
	chain := keystrand.Chain(send, ratelimit.By(customer, limiter))
	for offset, name := range []string{"a", "a", "b", "internal", "internal"} {
		m := &keystrand.Message{Stream: "orders", Offset: int64(offset), Headers: []keystrand.Header{{Key: "customer", Value: []byte(name)}}}
		if outcome, _ := keystrand.OutcomeOf(chain(context.Background(), keystrand.NewCall(m))); outcome == keystrand.OutcomePostponed {
			fmt.Println(outcome, offset)
		}
	}
	// Output:
	// sent 0
	// postponed 1
	// sent 2
	// sent 3
	// sent 4
}
