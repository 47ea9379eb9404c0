package demux

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
)

// leaveBehind makes a table behind that has no room for what the shared reader has for it.
func (ses *session) leaveBehind(ctx context.Context, tp *tap, last mark) {
	if !tp.t.fallBehind(tp.chunks, last) {
		return
	}
	//nolint:sloglint // the name of the package
	ses.s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, ses.s.cfg.Package+": table falls behind; it is read apart once it has room",
		slog.String("table", tp.t.id.Stream), slog.String("place", string(last.Place)))
	ses.wait(tp.t)
}

// wait puts a table that is behind at the end of the queue.
func (ses *session) wait(t *table) {
	ses.mu.Lock()
	ses.waiting = append(ses.waiting, t)
	ses.mu.Unlock()
	ses.schedule()
}

// othersWait reports whether a table with room waits for its turn.
func (ses *session) othersWait() bool {
	ses.mu.Lock()
	waiting := slices.Clone(ses.waiting)
	ses.mu.Unlock()
	return slices.ContainsFunc(waiting, (*table).drained)
}

// schedule starts readers for tables that are behind and have room, as many as Config.CatchUp allows.
func (ses *session) schedule() {
	ses.mu.Lock()
	waiting, free := slices.Clone(ses.waiting), ses.s.cfg.CatchUp-ses.apart
	ses.mu.Unlock()
	if free <= 0 || len(waiting) == 0 {
		return
	}
	ready := slices.DeleteFunc(waiting, func(t *table) bool { return !t.drained() })
	ses.mu.Lock()
	defer ses.mu.Unlock()
	for _, t := range ready {
		i := slices.Index(ses.waiting, t)
		if i < 0 || ses.end == nil || ses.apart >= ses.s.cfg.CatchUp {
			continue
		}
		ses.waiting = slices.Delete(ses.waiting, i, i+1)
		ses.apart++
		ses.launch(func(ctx context.Context) { ses.readApart(ctx, t) })
	}
}

// readApart reads the log for one table until the shared reader has its rows again.
func (ses *session) readApart(ctx context.Context, t *table) {
	defer ses.schedule()
	defer func() {
		ses.mu.Lock()
		ses.apart--
		ses.mu.Unlock()
	}()
	from, needs := t.begins()
	if !needs {
		return
	}
	s := ses.s
	f := &feed{ses: ses, only: t, what: "read " + t.id.Stream, last: from}
	err := f.run(ctx)
	s.health.Forget(f.what)
	switch {
	case errors.Is(err, errDone):
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, s.cfg.Package+": table has caught up", //nolint:sloglint // the name of the package
			slog.String("table", t.id.Stream), slog.String("place", string(f.end.Place)))
	case errors.Is(err, errYields):
		t.yield(f.last)
		ses.wait(t)
	case ctx.Err() != nil:
	case errors.Is(err, errOther), errors.Is(err, errCount):
		ses.stop(err)
	default:
		ses.stopTable(ctx, t, true, math.MaxInt64, err, !errors.Is(err, ErrGone))
	}
}
