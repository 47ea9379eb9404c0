package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
)

func TestForWaitsUntilTheTimeOrTheEndOfCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, cause := time.Now(), errors.New("enough")
		if err := pause.For(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("For returned %v after %v, want nil after 1s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if err := pause.For(ctx, time.Minute); !errors.Is(err, cause) || time.Since(start) != 2*time.Second {
			t.Errorf("For returned %v after %v, want the cause of ctx after 2s", err, time.Since(start))
		}
	})
}
