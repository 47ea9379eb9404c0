package fetch

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	msgs []string
}

func (r *logs) logger() *slog.Logger { return slog.New(r) }

func (r *logs) Enabled(context.Context, slog.Level) bool { return true }

func (r *logs) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.msgs = append(r.msgs, rec.Message)
	return nil
}

func (r *logs) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r *logs) WithGroup(string) slog.Handler      { return r }

func (r *logs) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, m := range r.msgs {
		if strings.Contains(m, part) {
			n++
		}
	}
	return n
}
