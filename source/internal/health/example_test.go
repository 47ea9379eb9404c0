package health_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/keystrand/keystrand/source/internal/health"
)

// Repeated failures with the same error are logged once.
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
	// level=WARN msg="kafka: operation failed; retrying" what=commit error="the coordinator is moving"
	// commit fails: the coordinator is moving
	// level=INFO msg="kafka: operation recovered" what=commit
	// 0 left
}
