package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
)

// A pipeline runs a loop like this one. It counts the attempts, and parks the lane for each delay.
func Example() {
	save := func(_ context.Context, c *keystrand.Call) error {
		if c.Messages[0].Attempt < 3 {
			return errors.New("database unavailable")
		}
		return nil
	}
	chain := keystrand.Chain(save,
		middleware.Retry(middleware.RetryPolicy{DisableJitter: true, MaxAttempts: 5}),
		middleware.Timeout(time.Second))

	m := &keystrand.Message{Stream: "comments", Offset: 7, Key: []byte("post-1")}
	for m.Attempt = 1; ; m.Attempt++ {
		outcome, delay := keystrand.OutcomeOf(chain(context.Background(), keystrand.NewCall(m)))
		fmt.Println(outcome, delay)
		if outcome != keystrand.OutcomeRetry {
			break
		}
	}
	// Output:
	// retry 100ms
	// retry 200ms
	// handled 0s
}

func ExampleLog() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{} // varies between runs
			}
			return a
		},
	}))
	save := func(context.Context, *keystrand.Call) error {
		return keystrand.Permanent(errors.New("no such post"))
	}
	chain := keystrand.Chain(save, middleware.Log(log, middleware.LogConfig{}))

	m := &keystrand.Message{Stream: "comments", Partition: 3, Offset: 42, Key: []byte("post-7"), Attempt: 1}
	_ = chain(context.Background(), keystrand.NewCall(m))
	// Output:
	// level=ERROR msg="message failed" stream=comments partition=3 offset=42 key="\"post-7\"" attempt=1 outcome=permanent error="no such post"
}
