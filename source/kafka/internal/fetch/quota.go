package fetch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/source"
)

// Quota reports that brokers throttle this client, once for all readers that share it.
//
// A Quota is safe for concurrent use.
type Quota struct {
	active atomic.Bool // since is set

	mu      sync.Mutex
	client  string
	since   time.Time // the first throttled response; zero: brokers do not throttle
	last    time.Time // the last one
	longest time.Duration
}

const (
	// quietAfter is how long after the last throttled response throttling is over.
	quietAfter = time.Minute
	// longestPause bounds the wait after a throttled response, whatever the broker says.
	longestPause = time.Minute
)

// throttled records a response that the broker throttled by d. It logs the first.
func (q *Quota) throttled(ctx context.Context, log *slog.Logger, client string, broker int32, d time.Duration) {
	q.ended(ctx, log)
	now := time.Now()
	q.mu.Lock()
	news := q.since.IsZero()
	if news {
		q.since, q.longest = now, 0
	}
	q.client, q.last, q.longest = client, now, max(q.longest, d)
	q.active.Store(true)
	q.mu.Unlock()
	if news {
		log.LogAttrs(ctx, slog.LevelWarn, "kafka: broker throttles this client; raise its quota with kafka-configs.sh",
			slog.Duration("throttle", d), slog.String("client_id", client), slog.Int("broker", int(broker)))
	}
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
