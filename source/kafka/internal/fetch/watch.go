package fetch

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// watch publishes the state of the fetcher, and detects a stall of its position.
type watch struct {
	name  []slog.Attr
	limit time.Duration

	end   atomic.Int64           // -1 while not known; written by the fetcher
	id    atomic.Pointer[string] // identity of the log; written by the fetcher
	since atomic.Int64           // Unix time in ns of the start of a stall, 0 if there is none

	position int64 // at the last check; used by the fetcher, like shaken
	shaken   int64 // Unix time in ns of the last true of check, 0 if there was none
}

func newWatch(topic string, partition int32, limit time.Duration) *watch {
	w := &watch{name: []slog.Attr{slog.String("stream", topic), slog.Int("partition", int(partition))}, limit: limit, position: -1}
	w.end.Store(-1)
	return w
}

// stalled reports whether the position is stalled. It is called from any goroutine.
func (w *watch) stalled() bool {
	since := w.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) >= w.limit
}

// rest is called before a time without requests, which is no stall.
func (w *watch) rest() { w.since.Store(0) }

// check is called after each request. It reports whether the position has not moved for the limit although it is below the
// end, and does so again each time the limit has passed. While no Read is called, no request ends and nothing stalls.
func (w *watch) check(ctx context.Context, log *slog.Logger, position int64) bool {
	end := w.end.Load()
	if position != w.position || position >= end {
		if w.shaken != 0 {
			log.LogAttrs(ctx, slog.LevelInfo, "kafka: partition no longer stalled", append(w.name, slog.Int64("offset", position))...)
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
		log.LogAttrs(ctx, slog.LevelWarn, "kafka: partition stalled below its end; renewing connection and route", append(w.name,
			slog.Int64("offset", position), slog.Int64("end", end), slog.Duration("since", time.Duration(now-since)))...)
	}
	w.shaken = now
	return true
}
