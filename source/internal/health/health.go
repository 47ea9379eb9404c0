// Package health records the failing operations of a source. It logs an operation when it starts to fail, when its error
// changes, once a minute while it fails, and when it recovers. The snapshot of a pipeline shows the failing operations. The
// source decides which errors are retried and which are fatal.
package health

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source"
)

// Health holds the operations that fail now and are retried.
//
// A Health is safe for concurrent use. Its methods do not block.
type Health struct {
	log  *slog.Logger
	name string // package of the source; starts every log line

	mu      sync.Mutex
	trouble map[string]source.Trouble
	logged  map[string]map[string]time.Time // when each was last logged with each of its errors
}

// logAgain is how often an operation that goes on to fail is logged.
const logAgain = time.Minute

// New returns a Health for the source with this package name. Its log lines start with the name.
func New(log *slog.Logger, name string) *Health {
	return &Health{log: log, name: name, trouble: make(map[string]source.Trouble), logged: make(map[string]map[string]time.Time)}
}

// Fails records an error of the operation what. It logs the error unless it has logged the same text, ignoring the local port,
// for the operation within the last minute: attempts may take turns between several brokers that fail.
func (h *Health) Fails(ctx context.Context, what string, err error) { h.Waits(ctx, what, err, 0) }

// Waits is Fails for an error that is normal for some time: until the operation has failed for that long, it is logged with
// level Info.
func (h *Health) Waits(ctx context.Context, what string, err error, normal time.Duration) {
	now := time.Now()
	h.mu.Lock()
	t, was := h.trouble[what]
	if !was {
		t = source.Trouble{What: what, Since: now}
	}
	t.Err = err
	h.trouble[what] = t
	level, event := slog.LevelWarn, ": operation failed; retrying"
	if now.Sub(t.Since) < normal {
		level, event = slog.LevelInfo, ": operation waits"
	}
	news := h.newsLocked(what, event+said(err), now)
	h.mu.Unlock()
	if news {
		h.log.LogAttrs(ctx, level, h.name+event, slog.String("what", what), slog.Any("error", err)) //nolint:sloglint // two names, two events
	}
}

// newsLocked reports whether to log the text, and records that.
func (h *Health) newsLocked(what, text string, now time.Time) bool {
	if h.logged[what] == nil {
		h.logged[what] = make(map[string]time.Time)
	}
	maps.DeleteFunc(h.logged[what], func(_ string, at time.Time) bool { return now.Sub(at) >= logAgain })
	if _, told := h.logged[what][text]; told {
		return false
	}
	h.logged[what][text] = now
	return true
}

// ourSide matches the local address in errors of connections. Its port differs for each connection.
var ourSide = regexp.MustCompile(`[^ ]+:\d+->`)

// said returns the text of an error without the local address, which differs between attempts.
func said(err error) string { return ourSide.ReplaceAllString(err.Error(), "") }

// Works records that the operation what succeeded. It logs the recovery if the operation was failing.
func (h *Health) Works(ctx context.Context, what string) {
	h.mu.Lock()
	t, was := h.trouble[what]
	delete(h.trouble, what)
	delete(h.logged, what)
	h.mu.Unlock()
	if was {
		h.log.LogAttrs(ctx, slog.LevelInfo, h.name+": operation recovered", slog.String("what", what), slog.Duration("after", time.Since(t.Since).Round(time.Millisecond))) //nolint:sloglint // one of two names
	}
}

// Forget removes the operation what, because it is not retried any more. It logs nothing.
func (h *Health) Forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.trouble, what)
	delete(h.logged, what)
}

// All returns the failing operations, sorted by name.
func (h *Health) All() []source.Trouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []source.Trouble
	for _, what := range slices.Sorted(maps.Keys(h.trouble)) {
		all = append(all, h.trouble[what])
	}
	return all
}
