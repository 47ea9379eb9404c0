package demux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// fault stops a table at a number, behind what it has of the log. A fault that is not final is of this table alone.
func (f *feed) fault(ctx context.Context, tp *tap, e *Event, number int64, err error, final bool) error {
	if !tp.numbered && !errors.Is(err, ErrGone) {
		if skips, err := f.skips(tp, e); skips || err != nil {
			return err
		}
	}
	if err := f.flush(ctx, tp, nil); err != nil {
		return err
	}
	f.ses.stopTable(ctx, tp.t, f.only != nil, number, fmt.Errorf("behind %s: %w", f.last.Place, err), final)
	return nil
}

// stopTable stops a table. It logs a fault that Fetch does not return.
func (ses *session) stopTable(ctx context.Context, t *table, own bool, number int64, err error, final bool) {
	if !final {
		err = fmt.Errorf("%w; to read on behind it: stop the process, copy the table, delete the progress of %s/%d from the store, and start. "+
			"The table then begins where the others are", err, t.id.Stream, t.id.Partition)
	}
	if t.stop(own, number, err, final) && !final {
		ses.s.failIfFenced()
		ses.wakeMeeting()
		//nolint:sloglint // the name of the package
		ses.s.cfg.Logger.LogAttrs(ctx, slog.LevelError, ses.s.cfg.Package+": table stopped; the others go on",
			slog.String("table", t.id.Stream), slog.Any("error", err))
	}
}

// hasFault reports whether the table has met a fault.
func (t *table) hasFault() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fault != nil
}

// hasStopped reports whether the table has met a fault and has settled all before it. No table waits for it at a statement then,
// unless the statement runs at it.
func (t *table) hasStopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fault != nil && t.stored.Load() >= t.end
}
