package demux

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/source"
)

// state is the state of a source. [Source.Report] explains each.
type state string

const (
	stateStarting state = "starting"
	stateReading  state = "reading"
	stateFailed   state = "failed"
	stateClosed   state = "closed"
)

// Report returns the current state of the source. It does not block and may be called from any goroutine.
//
// State is one of:
//   - "starting": the source claims its tables in the store, or waits for their release since the server has changed
//   - "reading": the source reads the log
//   - "failed": Accept has returned, or will return, an error
//   - "closed": Close was called
//
// Trouble includes "behind" for each table that is read apart from the others, or waits for its turn, "statement" for each that
// waits for another table at a statement which names both, and "stopped" for each that has met a fault of its own. The source is
// ready all the same, since its other tables go on.
func (s *Source) Report() source.Report {
	s.mu.Lock()
	r := source.Report{State: string(s.state), Ready: s.state == stateReading, Losses: s.losses}
	tables := s.tables
	s.mu.Unlock()
	r.Trouble = s.health.All()
	for _, t := range tables {
		if trouble, is := t.trouble(); is {
			r.Trouble = append(r.Trouble, trouble)
		}
	}
	slices.SortStableFunc(r.Trouble, func(a, b source.Trouble) int { return strings.Compare(a.What, b.What) })
	return r
}

// trouble reports whether a table is behind, waits for another, or has met a fault of its own, and since when.
func (t *table) trouble() (source.Trouble, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fault != nil && !t.final {
		return source.Trouble{What: "stopped " + t.id.Stream, Err: t.fault, Since: t.since}, true
	}
	var how string
	switch t.way {
	case behind:
		how = "waits for room, or for its turn to be read apart"
	case apart:
		how = "is read apart"
	case shared, over:
		return source.Trouble{
			What:  "statement " + t.id.Stream,
			Err:   fmt.Errorf("the table waits at %d, at a statement, for table %s", t.position.Load(), t.misses),
			Since: t.missed,
		}, t.misses != "" && t.way != over
	}
	return source.Trouble{
		What:  "behind " + t.id.Stream,
		Err:   fmt.Errorf("the table %s: at %d, the other tables are past %d", how, t.next, t.dropped),
		Since: t.since,
	}, true
}

// logRenumber logs why a session has ended.
func (s *Source) logRenumber(ctx context.Context, err error) {
	//nolint:sloglint // the name of the package
	s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, s.cfg.Package+": releasing all tables; they are accepted again with other offsets",
		slog.Any("cause", err))
}

// logOpened logs the start of a session.
func (s *Source) logOpened(ctx context.Context, ses *session) {
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, s.cfg.Package+": reading the log", //nolint:sloglint // the name of the package
		slog.String("log", ses.logName), slog.String("behind", string(ses.start.Place)), slog.Int("tables", len(ses.order)),
		slog.Int("behind_others", len(ses.waiting)))
}
