package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
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

// reporter logs the life of partitions, and what lasts. Events of many partitions at about the same time become one line.
//
// It has one goroutine, run. The other methods do not block and are safe for concurrent use.
type reporter struct {
	p *Pipeline

	mu      sync.Mutex
	bursts  []*burst              // guarded by mu, as is the next
	leaving map[*partition]*drain // partitions that are being released

	redelivered int64 // unsettled messages of the partitions released because the pipeline stops; guarded by mu
	changes     int   // partitions accepted and released; guarded by mu

	held          time.Time // when a held release was last logged; only run uses these
	sample        time.Time // when the lag is measured next
	status        time.Time // when what lasts is logged next
	lag           trend
	seen, unknown int // changes, and partitions without a known end, at the last measurement
}

// drain is the release of a partition.
type drain struct {
	cause      error
	began, end time.Time // end: when the handlers' ctx ends; zero if unknown
	announced  bool
}

func newReporter(p *Pipeline) *reporter {
	return &reporter{p: p, leaving: map[*partition]*drain{}}
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

// accepted records that a partition was accepted.
func (r *reporter) accepted(id source.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	r.burstLocked(burstAccepted, nil).add(id)
}

// leaves records that the release of a partition has begun.
func (r *reporter) leaves(pt *partition, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving[pt] = &drain{cause: cause, began: time.Now()}
}

// until records when the ctx of the handlers of a partition ends.
func (r *reporter) until(pt *partition, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.leaving[pt]; d != nil {
		d.end = end
	}
}

// released records that a partition is released. Its redelivered messages were fetched and not settled.
func (r *reporter) released(pt *partition, cause error, redelivered int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	b := r.burstLocked(burstReleased, cause)
	b.add(pt.id)
	b.settled += pt.settled.Load()
	b.redelivered += redelivered
	if d := r.leaving[pt]; d != nil {
		b.took = max(b.took, time.Since(d.began))
	}
	if cause == keystrand.ErrStopping { //nolint:errorlint // the cause itself
		r.redelivered += redelivered
	}
	delete(r.leaving, pt)
}

// committed records the first commit that failed after one that was stored, or the other way round, or a last commit that
// failed.
func (r *reporter) committed(kind burstKind, id source.ID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
