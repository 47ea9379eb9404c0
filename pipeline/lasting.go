package pipeline

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// blockedKeys logs the keys that a policy has blocked. It visits the lanes only if some are parked.
func (r *reporter) blockedKeys(ctx context.Context, now time.Time) {
	if r.p.exec.Stats().ParkedLanes == 0 {
		return
	}
	n, oldest, id, until := 0, KeySnapshot{}, source.ID{}, "Resume"
	for _, pt := range r.p.partitions() {
		pt.queue.Lanes(func(l keyed.Lane[item]) bool {
			if l.State != keyed.Parked || !l.Held {
				return true
			}
			n++
			if k := keySnapshot(l, now); n == 1 || k.Age > oldest.Age {
				oldest, id, until = k, pt.id, "Resume"
				oldest.Key = strings.Clone(loggedKey(laneText(l)))
				if !k.Until.IsZero() {
					until = k.Until.Format(time.RFC3339)
				}
			}
			return true
		})
	}
	if n == 0 {
		return
	}
	r.p.log.LogAttrs(ctx, slog.LevelWarn, "keys are blocked", slog.Int("n", n),
		slog.String("stream", id.Stream), slog.Int("partition", int(id.Partition)), slog.String("key", oldest.Key),
		slog.Int64("offset", oldest.Offset), slog.Duration("age", oldest.Age.Round(time.Second)), slog.String("until", until))
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
		_, at, err := pt.commits.Last()
		if err == nil {
			continue
		}
		if len(ids) == 0 || at.Before(oldest) {
			oldest, cause = at, err
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
