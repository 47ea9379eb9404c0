package pipeline

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// worst is the oldest of some keys.
type worst struct {
	n   int // how many there are
	key KeySnapshot
	id  source.ID
	at  time.Time // when the state of the oldest began
}

// add counts a lane whose state, for what is logged, began at a time.
func (w *worst) add(pt *partition, l keyed.Lane[item], now, at time.Time) {
	if w.n++; w.n > 1 && !at.Before(w.at) {
		return
	}
	w.key, w.id, w.at = keySnapshot(l, now), pt.id, at
	w.key.Key = strings.Clone(loggedKey(laneText(l)))
}

func (w *worst) attrs(now time.Time, since string, more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{
		slog.Int("n", w.n), slog.String("stream", w.id.Stream), slog.Int("partition", int(w.id.Partition)), slog.String("key", w.key.Key),
		slog.Int64("offset", w.key.Offset), slog.Duration(since, now.Sub(w.at).Round(time.Second)),
	}, more...)
}

// lastingKeys logs the keys that a policy has blocked, and those whose handlers have run for long. It visits the lanes only if
// there may be some.
func (r *reporter) lastingKeys(ctx context.Context, now time.Time) {
	if stats := r.p.exec.Stats(); stats.ParkedLanes == 0 && stats.Longest < statusRepeat {
		return
	}
	var blocked, busy worst
	for _, pt := range r.p.partitions() {
		pt.queue.Lanes(func(l keyed.Lane[item]) bool {
			switch {
			case l.State == keyed.Parked && l.Held && !(l.Head.isPump() && pt.divert.isHeld(l.Key)):
				blocked.add(pt, l, now, l.Head.Fetched)
			case l.State == keyed.Running && now.Sub(l.Since) >= statusRepeat:
				busy.add(pt, l, now, l.Since)
			}
			return true
		})
	}
	if blocked.n > 0 {
		until := "Resume"
		if !blocked.key.Until.IsZero() {
			until = blocked.key.Until.Format(time.RFC3339)
		}
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "keys are blocked", blocked.attrs(now, "age", slog.String("until", until))...)
	}
	if busy.n > 0 {
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "handlers have run for more than a minute", busy.attrs(now, "for")...)
	}
}

// divertedKeys logs that keys are diverted, and that keys wait for an operator. A diverted key that is not hot has an error: it
// is postponed or blocked.
func (r *reporter) divertedKeys(ctx context.Context, now time.Time) {
	var hot, held lastingStrands
	for _, pt := range r.p.partitions() {
		if pt.divert != nil && pt.divert.strung.Load() > 0 {
			pt.divert.lasting(&hot, &held, now)
		}
	}
	if hot.n > 0 {
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "keys are diverted", hot.attrs()...)
	}
	if held.n > 0 {
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "keys are held for an operator", held.attrs()...)
	}
}

// lastingStrands are the diverted keys of one line of the log.
type lastingStrands struct {
	n       int
	records int64
	most    StrandSnapshot // the one with the most records
	of      source.ID
}

// lasting adds the strands of a partition.
func (d *divert) lasting(hot, held *lastingStrands, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.strands {
		to := hot
		if st.held {
			to = held
		}
		if to.n++; to.n == 1 || st.records > to.most.Records {
			to.most, to.of = st.snapshot(now), d.pt.id
		}
		to.records += st.records
	}
}

func (l *lastingStrands) attrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.Int("n", l.n), slog.Int64("records", l.records), slog.String("stream", l.of.Stream), slog.Int("partition", int(l.of.Partition)),
		slog.String("key", loggedKey(l.most.Key)), slog.Int64("key_records", l.most.Records), slog.Duration("age", l.most.Age.Round(time.Second)),
		slog.String("state", l.most.State.String()),
	}
	if l.most.Err != "" {
		attrs = append(attrs, slog.String("error", l.most.Err))
	}
	return attrs
}

// backlog is the unsettled part of the logs of the owned partitions.
type backlog struct {
	total   int64
	unknown int // partitions that do not know their end
	most    int64
	of      source.ID // the partition with the most
}

func (p *Pipeline) backlog() (b backlog) {
	defer p.calls.begin("End of a partition")()
	for _, pt := range p.partitions() {
		end, known := pt.end()
		if !known {
			b.unknown++
			continue
		}
		st := pt.tracker.State()
		n := max(0, end-st.Frontier-st.Ahead) // what is settled ahead of a blocked key is no backlog
		b.total += n
		if n > b.most {
			b.most, b.of = n, pt.id
		}
	}
	return b
}

// measure adds a sample of the lag. The lag of other partitions is not comparable.
func (r *reporter) measure() {
	r.mu.Lock()
	changes := r.changes
	r.mu.Unlock()
	b := r.p.backlog()
	if changes != r.seen || b.unknown != r.unknown {
		r.seen, r.unknown, r.lag = changes, b.unknown, trend{}
	}
	r.lag.add(b.total)
}

// growingLag logs that the lag grows.
func (r *reporter) growingLag(ctx context.Context) {
	before := r.lag.before
	if !r.lag.end() {
		return
	}
	b := r.p.backlog()
	end := r.p.calls.begin("Report of the source, or End of a partition")
	bottleneck := r.p.Snapshot().Bottleneck
	end()
	attrs := []slog.Attr{
		slog.Int64("lag", b.total), slog.Int64("before", before), slog.String("bottleneck", bottleneck.String()),
		slog.String("stream", b.of.Stream), slog.Int("partition", int(b.of.Partition)), slog.Int64("of_partition", b.most),
	}
	if b.unknown > 0 {
		attrs = append(attrs, slog.Int("partitions_with_unknown_lag", b.unknown))
	}
	r.p.log.LogAttrs(ctx, slog.LevelWarn, "lag grows", attrs...)
}

// failingCommits logs that the last commits of partitions failed.
func (r *reporter) failingCommits(ctx context.Context, now time.Time) {
	var ids []source.ID
	var oldest time.Time // the oldest of the last stored commits
	var cause error
	for _, pt := range r.p.partitions() {
		last := pt.commits.Last()
		if last.Err == nil {
			continue
		}
		if len(ids) == 0 || last.At.Before(oldest) {
			oldest, cause = last.At, last.Err
		}
		ids = append(ids, pt.id)
	}
	if len(ids) == 0 {
		return
	}
	attrs := []slog.Attr{slog.Int("n", len(ids)), slog.String("partitions", rangesOf(ids))}
	if !oldest.IsZero() {
		attrs = append(attrs, slog.Duration("last_stored", now.Sub(oldest).Round(time.Second)))
	}
	r.p.log.LogAttrs(ctx, slog.LevelWarn, "commits fail; a crash now redelivers messages settled since the last stored one", append(attrs, slog.Any("error", cause))...)
}
