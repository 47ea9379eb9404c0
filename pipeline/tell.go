package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
)

// tell records an event and writes its line to the log. pt is nil for an event that concerns no ownership. attrs are
// further attributes of the line. The caller holds no lock.
func (r *reporter) tell(pt *partition, e Event, attrs ...slog.Attr) {
	r.line(pt, r.add(pt, e), attrs...)
}

// add records an event and returns it. It does not block. Events are ordered by their adds, so a caller that must not be overtaken
// may hold a lock.
func (r *reporter) add(pt *partition, e Event) Event {
	e = r.completed(pt, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addLocked(pt, e, true)
}

// committed records the result of a commit. news is that of progress.Commits.
func (r *reporter) committed(pt *partition, e Event, news bool) {
	if !news && r.p.cfg.onEvent == nil {
		return // nobody sees it
	}
	e = r.completed(pt, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(pt, e, news && e.Err != nil)
	switch {
	case !news, errors.Is(e.Err, commit.ErrFenced): // which loses the partition
	case e.Err != nil:
		r.collectLocked(burstCommitFailed, pt.id, e.Err)
	default:
		r.collectLocked(burstCommitRecovered, pt.id, nil)
	}
}

// completed sets the fields that all events have. It copies what would keep more in memory than the event.
func (r *reporter) completed(pt *partition, e Event) Event {
	e.Key, e.Err = strings.Clone(loggedKey(e.Key)), keptError(e.Err)
	if pt != nil {
		e.Partition = pt.id
	}
	return e
}

// addLocked numbers an event and passes it on. With keep, Pipeline.Events lists it.
func (r *reporter) addLocked(pt *partition, e Event, keep bool) Event {
	e.At = time.Now()
	if pt != nil && !r.ofLocked(pt, &e) {
		return e
	}
	r.seq++
	e.Seq = r.seq
	if keep {
		r.keepLocked(e)
	}
	if r.p.cfg.onEvent != nil {
		r.passLocked(e)
	}
	return e
}

// keptError returns an error that can be kept in memory: its text may quote a whole message.
func keptError(err error) error {
	if err == nil {
		return nil
	}
	if text := fmt.Sprint(err); len(text) > maxLoggedError {
		return errors.New(strings.ToValidUTF8(text[:maxLoggedError], "") + "...")
	}
	return err
}

// ofLocked follows the life of a partition. It returns false for an event after its release.
func (r *reporter) ofLocked(pt *partition, e *Event) bool {
	if pt.told {
		return false
	}
	switch e.Kind { //nolint:exhaustive // the others do not change it
	case EventAccepted:
		r.changes++
		r.burstLocked(burstAccepted, nil).add(pt.id)
	case EventLeaving:
		r.leaving[pt] = &drain{cause: e.Err, began: e.At}
	case EventDrained:
		e.Took = r.tookLocked(pt, e.At)
	case EventReleased:
		e.Took, pt.told = r.tookLocked(pt, e.At), true
		r.releasedLocked(pt, e)
	}
	return true
}

func (r *reporter) tookLocked(pt *partition, now time.Time) time.Duration {
	if d := r.leaving[pt]; d != nil {
		return now.Sub(d.began)
	}
	return 0
}

func (r *reporter) releasedLocked(pt *partition, e *Event) {
	r.changes++
	b := r.burstLocked(burstReleased, e.Err)
	b.add(pt.id)
	b.settled += pt.settled.Load()
	b.redelivered += e.Messages
	b.took = max(b.took, e.Took)
	if e.Err == keystrand.ErrStopping { //nolint:errorlint // the cause itself
		r.redelivered += e.Messages
	}
	delete(r.leaving, pt)
}

// keepLocked keeps an event for Pipeline.Events.
func (r *reporter) keepLocked(e Event) {
	if len(r.last) < mostEvents {
		r.last = append(r.last, e)
		return
	}
	r.last[r.oldest] = e
	r.oldest = (r.oldest + 1) % mostEvents
}

// line writes the line of an event, with further attributes. Accepted and released partitions, and commits that fail, have
// another one for many partitions: see burst.
func (r *reporter) line(pt *partition, e Event, more ...slog.Attr) {
	level, text := e.Kind.line()
	if text == "" || e.Kind == EventLost && errors.Is(e.Err, keystrand.ErrLost) {
		return // a source logs the losses that it finds itself
	}
	var attrs []slog.Attr
	if e.Partition.Stream != "" {
		attrs = append(attrs, slog.String("stream", e.Partition.Stream), slog.Int("partition", int(e.Partition.Partition)))
	}
	if pt != nil {
		attrs = append(attrs, slog.Int64("epoch", e.Partition.Epoch))
	}
	switch e.Kind { //nolint:exhaustive // the others have no further attributes, or those of the caller
	case EventLeaving, EventStopping:
		attrs = append(attrs, slog.Any("cause", e.Err))
	case EventDrained:
		attrs = append(attrs, slog.Duration("took", e.Took.Round(time.Millisecond)), slog.Int64("unsettled", e.Messages))
	case EventReleased:
		attrs = append(attrs, slog.Int64("will_be_redelivered", e.Messages))
	case EventLost:
		attrs = append(attrs, slog.Any("error", e.Err))
	case EventDiverted, EventDirect:
		attrs = append(attrs, slog.String("key", e.Key))
	case EventResumed, EventSkipped, EventDropped:
		attrs = append(attrs, slog.String("action", e.Kind.act()), slog.String("by", e.By), slog.String("key", e.Key))
	case EventPaused, EventUnpaused, EventWorkers:
		attrs = append(attrs, slog.String("action", e.Kind.act()))
	}
	r.mu.Lock()
	write := r.write
	r.mu.Unlock()
	write(level, text, append(attrs, more...))
}

// writeWith makes line write with the values of ctx.
func (r *reporter) writeWith(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write = func(level slog.Level, text string, attrs []slog.Attr) {
		r.p.log.LogAttrs(ctx, level, text, attrs...) //nolint:sloglint // the text is one of EventKind.line
	}
}

// act returns what an operator did.
func (k EventKind) act() string {
	switch k { //nolint:exhaustive // the others are not acts
	case EventResumed:
		return "resume"
	case EventSkipped:
		return "skip"
	case EventDropped:
		return "drop"
	case EventPaused:
		return "pause"
	case EventUnpaused:
		return "unpause"
	}
	return "set workers"
}

// line returns the level and the text of the line of an event; empty: it has none.
func (k EventKind) line() (level slog.Level, text string) {
	switch k {
	case EventAccepted:
		return slog.LevelDebug, "partition accepted"
	case EventLeaving:
		return slog.LevelDebug, "releasing partition"
	case EventDrained:
		return slog.LevelDebug, "partition drained"
	case EventReleased:
		return slog.LevelDebug, "partition released"
	case EventLost:
		return slog.LevelWarn, "partition lost: a newer owner has it"
	case EventBlocked, EventHeld:
		return slog.LevelWarn, notHandled
	case EventDiverted:
		return slog.LevelDebug, "key diverted"
	case EventDirect:
		return slog.LevelDebug, "key is direct again"
	case EventResumed, EventSkipped, EventDropped, EventPaused, EventUnpaused, EventWorkers:
		return slog.LevelInfo, "operator acted"
	case EventStopping:
		return slog.LevelDebug, "pipeline stopping"
	case EventCommitted, EventCommitFailed:
	}
	return 0, ""
}
