package fetch

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// watch is what the fetcher lets others see, and the watchdog over its position.
type watch struct {
	name  []slog.Attr
	limit time.Duration

	end   atomic.Int64           // -1 while not known; written by the fetcher
	id    atomic.Pointer[string] // identity of the log; written by the fetcher
	since atomic.Int64           // Unix time in ns since which the position stands below the end, 0 if it does not

	position int64 // below which the position was last seen; only the fetcher's, as is the next
	shaken   int64 // when the fetcher was last told that it stands still, 0 if it was not
}

func newWatch(topic string, partition int32, limit time.Duration) *watch {
	w := &watch{name: []slog.Attr{slog.String("topic", topic), slog.Int("partition", int(partition))}, limit: limit, position: -1}
	w.end.Store(-1)
	return w
}

// stalled may be called from any goroutine.
func (w *watch) stalled() bool {
	since := w.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= w.limit
}

// check looks at the position after each request. It returns true when it stands below the end for the limit, and
// again each time the limit has passed. A caller that does not read is no stall: the fetcher waits for it elsewhere.
func (w *watch) check(ctx context.Context, log *slog.Logger, position int64) bool {
	end := w.end.Load()
	if position != w.position || position >= end {
		if w.shaken != 0 {
			log.LogAttrs(ctx, slog.LevelInfo, "the partition moves again", append(w.name, slog.Int64("offset", position))...)
		}
		w.position, w.shaken = position, 0
		w.since.Store(0)
		return false
	}
	now := time.Now().UnixNano()
	since := w.since.Load()
	if since == 0 {
		w.since.Store(now)
		return false
	}
	if time.Duration(now-max(since, w.shaken)) < w.limit {
		return false
	}
	if w.shaken == 0 {
		log.LogAttrs(ctx, slog.LevelWarn, "the partition stands below its end, asking anew", append(w.name,
			slog.Int64("offset", position), slog.Int64("end", end), slog.Duration("since", time.Duration(now-since)))...)
	}
	w.shaken = now
	return true
}
