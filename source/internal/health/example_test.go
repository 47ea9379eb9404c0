package health_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/keystrand/keystrand/source/internal/health"
)

// An error that stays the same is told once, however often it is met.
func Example() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "after" {
			return slog.Attr{}
		}
		return a
	}}))
	ctx := context.Background()

	h := health.New(log, "kafka")
	for range 3 {
		h.Fails(ctx, "commit", errors.New("the coordinator is moving"))
	}
	fmt.Println(h.All()[0].What, "fails:", h.All()[0].Err)
	h.Works(ctx, "commit")
	h.Works(ctx, "commit")
	fmt.Println(len(h.All()), "left")

	// Output:
	// level=WARN msg="kafka: trying again" what=commit error="the coordinator is moving"
	// commit fails: the coordinator is moving
	// level=INFO msg="kafka: works again" what=commit
	// 0 left
}
