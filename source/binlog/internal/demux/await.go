package demux

import (
	"context"
	"time"
)

const (
	// patience is how long the shared reader waits for room of tables, of one or of many, while other tables wait for rows. It gets
	// a tenth of the time back in which it does not wait. A table that is only slow for a moment is not worth another reader.
	patience = time.Second
	// glance is how often a reader that waits for room looks at the others.
	glance = 100 * time.Millisecond
	// mostAgain is how much of an open transaction a reader may read again because others had their turn. It is read in some
	// hundredths of a second.
	mostAgain = 50_000
)

// await waits until a table may have room. The shared reader makes a table that has none behind. The reader of a table ends if
// others wait for their turn.
func (f *feed) await(ctx context.Context, tp *tap) error {
	t, s := tp.t, f.ses.s
	start := time.Now()
	if f.only == nil {
		if !f.spent.IsZero() {
			f.credit = min(s.cfg.patience, f.credit+start.Sub(f.spent)/10)
		}
		if f.credit <= 0 || t.waitsForOthers() {
			f.ses.leaveBehind(ctx, tp, f.last)
			return nil
		}
	} else if (f.n-f.began < mostAgain || t.waitsForOthers()) && f.ses.othersWait() {
		return errYields
	}
	timer := time.NewTimer(glance)
	defer timer.Stop()
	select {
	case <-t.roomed:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if f.only == nil {
		f.spent = time.Now()
		if s.hungry.Load() > 0 {
			f.credit -= f.spent.Sub(start)
		}
	}
	return nil
}
