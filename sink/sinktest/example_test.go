package sinktest_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/sink/sinktest"
)

// In a test it is one call: sinktest.Run(t, newEnv). Here one case runs by itself.
func ExampleCases() {
	for _, c := range sinktest.Cases()[:1] {
		s := memory.New()
		err := c.Run(context.Background(), &sinktest.Env{
			Sink:   s,
			Stored: func(context.Context) ([]keystrand.Message, error) { return s.Messages(), nil },
		})
		fmt.Println(err)
	}
	// Output: <nil>
}
