package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source"
)

// Times of the reporter.
const (
	reportTick   = 250 * time.Millisecond
	heldAfter    = time.Second      // a release counts as held up
	heldRepeat   = 10 * time.Second // and is logged again
	sampleEvery  = 10 * time.Second // of the lag
	statusRepeat = time.Minute      // of what lasts: blocked keys, long handlers, growing lag, failing commits
)

// reporter keeps events, passes them on and logs them, and what lasts. Events of many partitions at about the same time become
// one line.
//
// It has the goroutine run and, with Builder.OnEvent, deliver. Of the other methods only tell and line may block, in the logger.
// They are safe for concurrent use.
type reporter struct {
	p    *Pipeline
	news chan struct{} // capacity 1: an event waits for OnEvent

	mu      sync.Mutex                            // guards the following
	write   func(slog.Level, string, []slog.Attr) // writes a line with the values of the ctx of Run
	seq     uint64                                // of the last event
	last    []Event                               // a ring, once it is full
	oldest  int                                   // index in last
	queue   []Event                               // for OnEvent
	missed  int                                   // events that found the queue full
	bursts  []*burst
	leaving map[*partition]*drain // partitions that are being released

	redelivered int64 // unsettled messages of the partitions released because the pipeline stops
	changes     int   // partitions accepted and released

	held          time.Time // when a held release was last logged; only run uses this and the following
	missedAt      time.Time // when missed is logged next, at the earliest
	sample        time.Time // when the lag is measured next
	status        time.Time // when what lasts is logged next
	lag           trend
	seen, unknown int // changes, and partitions without a known end, at the last measurement
}

// drain is the release of a partition.
type drain struct {
	cause      error
	began, end time.Time // end: when the handlers' ctx ends; zero if unknown
	deadline   time.Time // of the source; zero if there is none
	announced  bool
}

func newReporter(p *Pipeline) *reporter {
	r := &reporter{p: p, news: make(chan struct{}, 1), leaving: map[*partition]*drain{}}
	r.write = func(_ slog.Level, text string, attrs []slog.Attr) { // before Run only operators act
		p.log.Info(text, slog.GroupAttrs("", attrs...)) //nolint:sloglint // as in writeWith
	}
	return r
}

// run is the goroutine of the reporter. It ends when stop is closed.
func (r *reporter) run(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(reportTick)
	defer tick.Stop()
	now := time.Now()
	r.sample, r.status = now.Add(sampleEvery), now.Add(statusRepeat)
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now = time.Now()
		r.flush(ctx, now, false)
		r.logMissed(ctx, now)
		r.drains(ctx, now)
		r.p.calls.log(ctx, r.p.log, now, r.p.cfg.timing.StuckAfter)
		if !now.Before(r.sample) {
			r.sample = now.Add(sampleEvery)
			r.measure()
		}
		if !now.Before(r.status) {
			r.status = now.Add(statusRepeat)
			r.lastingKeys(ctx, now)
			r.divertedKeys(ctx, now)
			r.growingLag(ctx)
			r.failingCommits(ctx, now)
		}
	}
}

// until records when the ctx of the handlers of a partition ends, and the deadline of the source.
func (r *reporter) until(pt *partition, end, deadline time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.leaving[pt]; d != nil {
		d.end, d.deadline = end, deadline
	}
}

// releases returns the partitions that are being released.
func (r *reporter) releases() map[*partition]*LeavingSnapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.leaving) == 0 {
		return nil
	}
	all := make(map[*partition]*LeavingSnapshot, len(r.leaving))
	for pt, d := range r.leaving {
		all[pt] = &LeavingSnapshot{Cause: d.cause, Since: d.began, Until: d.end, Deadline: d.deadline}
	}
	return all
}

// collect adds a partition to a burst.
func (r *reporter) collect(kind burstKind, id source.ID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectLocked(kind, id, err)
}

func (r *reporter) collectLocked(kind burstKind, id source.ID, err error) {
	b := r.burstLocked(kind, nil)
	b.add(id)
	b.err = err
}

// burstLocked returns the burst that an event belongs to.
func (r *reporter) burstLocked(kind burstKind, cause error) *burst {
	for _, b := range r.bursts {
		if b.kind == kind && b.cause == cause { //nolint:errorlint // the cause itself
			return b
		}
	}
	b := &burst{kind: kind, cause: cause, first: time.Now()}
	r.bursts = append(r.bursts, b)
	return b
}

// flush logs the bursts that are over, or all.
func (r *reporter) flush(ctx context.Context, now time.Time, all bool) {
	var over []*burst
	r.mu.Lock()
	kept := r.bursts[:0]
	for _, b := range r.bursts {
		if all || b.over(now) {
			over = append(over, b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(r.bursts[len(kept):])
	r.bursts = kept
	r.mu.Unlock()
	for _, b := range over {
		b.log(ctx, r.p.log)
	}
}

// stopped logs the end of Run.
func (r *reporter) stopped(ctx context.Context) {
	r.flush(ctx, time.Now(), true)
	r.mu.Lock()
	redelivered := r.redelivered
	r.mu.Unlock()
	r.p.log.LogAttrs(ctx, slog.LevelInfo, "pipeline stopped",
		slog.Int64("settled", r.p.counts.settled.Load()), slog.Int64("will_be_redelivered", redelivered))
}
