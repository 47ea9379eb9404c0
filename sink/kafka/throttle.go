package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
)

// throttle delays the requests to brokers that throttle this client because of its quota. Such a broker does not read the next
// request for that time: the request would time out, and be stored late, behind its own retry and what follows that. It is safe
// for concurrent use.
type throttle struct {
	mu    sync.Mutex
	until map[int32]time.Time // by broker; guarded by mu
	told  time.Time           // of the last line; guarded by mu
}

// answered records the time for which a broker throttles, and logs it once a minute.
func (t *throttle) answered(ctx context.Context, cfg *Config, broker int32, d time.Duration) {
	if d <= 0 {
		return
	}
	now := time.Now()
	t.mu.Lock()
	if t.until == nil {
		t.until = make(map[int32]time.Time)
	}
	if until := now.Add(d); until.After(t.until[broker]) {
		t.until[broker] = until
	}
	tell := t.told.IsZero() || now.Sub(t.told) >= relog
	if tell {
		t.told = now
	}
	t.mu.Unlock()
	if tell {
		cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: broker throttles this client; raise its quota with kafka-configs.sh",
			slog.Duration("throttle", d), slog.String("client_id", cfg.ClientID), slog.Int64("broker", int64(broker)))
	}
}

// wait blocks until the broker reads requests again. It returns an error when ctx ends.
func (t *throttle) wait(ctx context.Context, broker int32) error {
	for { // the answer to another writer may extend the time
		t.mu.Lock()
		left := time.Until(t.until[broker])
		t.mu.Unlock()
		if left <= 0 {
			return nil
		}
		if err := pause.For(ctx, left); err != nil {
			return err
		}
	}
}
