// Package health is what sources that talk to brokers share about their trouble: what does not work just now and is tried
// again, told to the log once when it begins, when its cause changes and when it is over, and shown in a snapshot. It decides
// nothing: what is trouble and what is fatal, each source says itself.
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

// Health keeps what does not work just now, and tells the log of each change once.
//
// It is safe for concurrent use; its methods do not block.
type Health struct {
	log  *slog.Logger
	name string // of the source: in front of what the log gets

	mu      sync.Mutex
	trouble map[string]source.Trouble
}

// New returns the health of a source, by whose package name its lines in the log begin.
func New(log *slog.Logger, name string) *Health {
	return &Health{log: log, name: name, trouble: make(map[string]source.Trouble)}
}

// Fails notes an error. The log hears of it when it is new or reads differently from the last, but for the port of our side.
func (h *Health) Fails(ctx context.Context, what string, err error) {
	now := time.Now()
	h.mu.Lock()
	t, was := h.trouble[what]
	news := !was || said(t.Err) != said(err)
	if !was {
		t = source.Trouble{What: what, Since: now}
	}
	t.Err = err
	h.trouble[what] = t
	h.mu.Unlock()
	if news {
		h.log.LogAttrs(ctx, slog.LevelWarn, h.name+": trying again", slog.String("what", what), slog.Any("error", err)) //nolint:sloglint // one of two names
	}
}

// ourSide is the address in front of an arrow in errors of connections: each has another port.
var ourSide = regexp.MustCompile(`[^ ]+:\d+->`)

// said returns what an error says, but for what differs from one try to the next.
func said(err error) string { return ourSide.ReplaceAllString(err.Error(), "") }

// Works notes that it works again.
func (h *Health) Works(ctx context.Context, what string) {
	h.mu.Lock()
	t, was := h.trouble[what]
	delete(h.trouble, what)
	h.mu.Unlock()
	if was {
		h.log.LogAttrs(ctx, slog.LevelInfo, h.name+": works again", slog.String("what", what), slog.Duration("after", time.Since(t.Since))) //nolint:sloglint // one of two names
	}
}

// Forget notes that it is not tried any more.
func (h *Health) Forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.trouble, what)
}

// All returns what fails now, by name.
func (h *Health) All() []source.Trouble {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []source.Trouble
	for _, what := range slices.Sorted(maps.Keys(h.trouble)) {
		all = append(all, h.trouble[what])
	}
	return all
}
