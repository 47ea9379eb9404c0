package pulsar

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source"
)

// health keeps what does not work just now, and tells the log of each change once.
//
// It is safe for concurrent use.
type health struct {
	log *slog.Logger

	mu      sync.Mutex
	trouble map[string]source.Trouble
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, trouble: make(map[string]source.Trouble)}
}

// fails notes an error. The log hears of it when it is new or reads differently from the last.
func (h *health) fails(ctx context.Context, what string, err error) {
	now := time.Now()
	h.mu.Lock()
	t, was := h.trouble[what]
	news := !was || t.Err.Error() != err.Error()
	if !was {
		t = source.Trouble{What: what, Since: now}
	}
	t.Err = err
	h.trouble[what] = t
	h.mu.Unlock()
	if news {
		h.log.LogAttrs(ctx, slog.LevelWarn, "pulsar: trying again", slog.String("what", what), slog.Any("error", err))
	}
}

// works notes that it works again.
func (h *health) works(ctx context.Context, what string) {
	h.mu.Lock()
	t, was := h.trouble[what]
	delete(h.trouble, what)
	h.mu.Unlock()
	if was {
		h.log.LogAttrs(ctx, slog.LevelInfo, "pulsar: works again", slog.String("what", what),
			slog.Duration("after", time.Since(t.Since)))
	}
}

// forget notes that it is not tried any more.
func (h *health) forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.trouble, what)
}

// all returns what fails now, by name.
func (h *health) all() []source.Trouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []source.Trouble
	for _, what := range slices.Sorted(maps.Keys(h.trouble)) {
		all = append(all, h.trouble[what])
	}
	return all
}
