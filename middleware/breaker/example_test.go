package breaker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/middleware/breaker"
)

// The second failure opens the breaker. It is blamed on the service, as are those that follow.
func ExampleNew() {
	pay := func(context.Context, *keystrand.Call) error { return errors.New("connection refused") }
	chain := keystrand.Chain(pay,
		middleware.Retry(middleware.RetryPolicy{}),
		breaker.New(breaker.Config{Name: "payments", Failures: 2}))
	for offset := range int64(3) {
		m := &keystrand.Message{Stream: "orders", Offset: offset, Attempt: 1}
		outcome, _ := keystrand.OutcomeOf(chain(context.Background(), keystrand.NewCall(m)))
		fmt.Println(offset, outcome)
	}
	// Output:
	// 0 retry
	// 1 postponed
	// 2 postponed
}

// Each host has a breaker of its own.
func ExampleBy() {
	host := func(m *keystrand.Message) string {
		h, _ := m.Header("host")
		return string(h)
	}
	call := func(_ context.Context, c *keystrand.Call) error {
		if host(c.Messages[0]) == "a" {
			return errors.New("connection refused")
		}
		return nil
	}
	chain := keystrand.Chain(call, breaker.By(host, breaker.Config{Failures: 1}))
	for _, name := range []string{"a", "a", "b"} {
		m := &keystrand.Message{Stream: "orders", Headers: []keystrand.Header{{Key: "host", Value: []byte(name)}}}
		outcome, _ := keystrand.OutcomeOf(chain(context.Background(), keystrand.NewCall(m)))
		fmt.Println(name, outcome)
	}
	// Output:
	// a postponed
	// a postponed
	// b handled
}
