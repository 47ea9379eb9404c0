package fetch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
)

// Quota reports that brokers throttle this client, once for all readers that share it, and has all of them wait. A broker that
// throttles does not answer on the connection of the throttled response (KIP-219), which any reader may use next.
//
// A Quota is safe for concurrent use.
type Quota struct {
	active atomic.Bool // since is set

	mu      sync.Mutex
	client  string
	since   time.Time // the first throttled response; zero: brokers do not throttle
	last    time.Time // the last one
	longest time.Duration
	until   map[int32]time.Time // when the time that a broker asks to wait is over
}

const (
	// quietAfter is how long after the last throttled response throttling is over.
	quietAfter = time.Minute
	// longestPause bounds the wait after a throttled response, whatever the broker says.
	longestPause = time.Minute
)

// throttled records a response that the broker throttled by d. It logs the first. If the broker expects the client to wait, the
// readers do.
func (q *Quota) throttled(ctx context.Context, log *slog.Logger, client string, broker int32, d time.Duration, waits bool) {
	q.ended(ctx, log)
	now := time.Now()
	q.mu.Lock()
	news := q.since.IsZero()
	if news {
		q.since, q.longest = now, 0
	}
	q.client, q.last, q.longest = client, now, max(q.longest, d)
	if waits {
		if q.until == nil {
			q.until = map[int32]time.Time{}
		}
		if until := now.Add(min(d, longestPause)); until.After(q.until[broker]) {
			q.until[broker] = until
		}
	}
	q.active.Store(true)
	q.mu.Unlock()
	if news {
		log.LogAttrs(ctx, slog.LevelWarn, "kafka: broker throttles this client; raise its quota with kafka-configs.sh",
			slog.Duration("throttle", d), slog.String("client_id", client), slog.Int("broker", int(broker)))
	}
}

// pause waits until the time that a broker asks to wait is over, or ctx ends.
func (q *Quota) pause(ctx context.Context, broker int32) error {
	for q.active.Load() {
		q.mu.Lock()
		d := time.Until(q.until[broker])
		q.mu.Unlock()
		if d <= 0 {
			break
		}
		if err := pause.For(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// ended logs the end of throttling, when it is over.
func (q *Quota) ended(ctx context.Context, log *slog.Logger) {
	if !q.active.Load() {
		return
	}
	q.mu.Lock()
	since, last, longest := q.since, q.last, q.longest
	over := !since.IsZero() && time.Since(last) >= quietAfter
	if over {
		q.since = time.Time{}
		q.active.Store(false)
	}
	q.mu.Unlock()
	if over {
		log.LogAttrs(ctx, slog.LevelInfo, "kafka: throttling ended", slog.Duration("after", last.Sub(since).Round(time.Millisecond)), slog.Duration("longest", longest))
	}
}

// Trouble returns the throttling of the last minute, and reports whether there was any.
func (q *Quota) Trouble() (source.Trouble, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.since.IsZero() || time.Since(q.last) >= quietAfter {
		return source.Trouble{}, false
	}
	return source.Trouble{What: "quota", Since: q.since, Err: fmt.Errorf(
		"brokers throttle client id %q by up to %v a request: raise its consumer_byte_rate or request_percentage with kafka-configs.sh",
		q.client, q.longest)}, true
}
