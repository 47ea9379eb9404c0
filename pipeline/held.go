package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/source"
)

// holdup is what the release of some partitions waits for.
type holdup struct {
	ids      []source.ID
	handlers int   // running
	outputs  int64 // outputs and dead letters that are not durable
	end      time.Time
	commits  []source.ID // the last commit has not ended

	// The message that holds them up longest, if there is one.
	found  bool
	id     source.ID
	why    Why
	key    string
	offset int64
	since  time.Time
}

// add adds a partition. Its queue is fenced, so that few lanes are left.
func (h *holdup) add(p *Pipeline, pt *partition) {
	h.ids = append(h.ids, pt.id)
	h.outputs += pt.outputs.Pending()
	if !pt.over.Load() {
		h.commits = append(h.commits, pt.id)
	}
	pt.queue.Lanes(func(l keyed.Lane[item]) bool {
		if l.Head.Epoch != pt.id.Epoch || l.State != keyed.Running && l.State != keyed.Waiting {
			return true
		}
		why := WhyHandler
		switch {
		case l.State == keyed.Running:
			h.handlers++
		case l.Note == noteLetter:
			why = WhyLetter
		case l.Note == noteLog:
			why = WhyLog
		default:
			why = WhySink
		}
		if !h.found || l.Since.Before(h.since) {
			h.found, h.id, h.why, h.offset, h.since = true, pt.id, why, l.Head.Offset, l.Since
			h.key = strings.Clone(loggedKey(laneText(l)))
		}
		return true
	})
	if p.outputs == nil || pt.written() {
		return
	}
	p.outputs.Find(pt.outputs, func(o *output) bool {
		m := &o.Value.input
		if !h.found || m.Fetched.Before(h.since) {
			h.found, h.id, h.why, h.key, h.offset, h.since = true, pt.id, WhySink, "", m.Offset, m.Fetched
			if o.Value.named {
				h.key = loggedKey(o.Value.lane.String())
			}
		}
		return true // one is enough
	})
}

// attrs returns the attributes of a line.
func (h *holdup) attrs(now time.Time) []slog.Attr {
	attrs := []slog.Attr{
		slog.Int("n", len(h.ids)), slog.String("partitions", rangesOf(h.ids)),
		slog.Int("handlers", h.handlers), slog.Int64("outputs", h.outputs),
	}
	if !h.end.IsZero() {
		attrs = append(attrs, slog.Duration("up_to", max(0, h.end.Sub(now)).Round(time.Millisecond)))
	}
	switch {
	case !h.found && len(h.commits) > 0: // after its handlers and outputs, a partition waits for nothing else
		attrs = append(attrs, slog.String("waits_for", "the last commit"), slog.String("of", rangesOf(h.commits)))
	case !h.found:
		attrs = append(attrs, slog.String("waits_for", "the source"))
	default:
		attrs = append(attrs, slog.String("waits_for", h.why.String()), slog.String("stream", h.id.Stream), slog.Int("partition", int(h.id.Partition)),
			slog.String("key", h.key), slog.Int64("offset", h.offset), slog.Duration("for", now.Sub(h.since).Round(time.Millisecond)))
	}
	return attrs
}

// drains logs releases that have begun, and those that are held up.
func (r *reporter) drains(ctx context.Context, now time.Time) {
	all, begun, oldest, end, cause := r.draining(now)
	if len(all) == 0 {
		r.held = time.Time{}
		return
	}
	if len(begun) > 0 {
		h := r.p.holdup(begun, end)
		r.p.log.LogAttrs(ctx, slog.LevelInfo, "draining partitions", slices.Insert(h.attrs(now), 2, slog.Any("cause", cause))...)
	}
	if now.Sub(oldest) >= heldAfter && now.Sub(r.held) >= heldRepeat {
		r.held = now
		h := r.p.holdup(all, end)
		r.p.log.LogAttrs(ctx, slog.LevelWarn, "release of partitions is held up; waiting", h.attrs(now)...)
	}
}

// draining returns all partitions that are being released, and those to announce: it waits a tick for more of them.
func (r *reporter) draining(now time.Time) (all, begun []*partition, oldest, end time.Time, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest time.Time
	for pt, d := range r.leaving {
		all = append(all, pt)
		if !d.announced {
			begun, cause = append(begun, pt), d.cause
			newest = later(newest, d.began)
		}
		if oldest.IsZero() || d.began.Before(oldest) {
			oldest = d.began
		}
		end = later(end, d.end)
	}
	if now.Sub(newest) < reportTick {
		return all, nil, oldest, end, nil
	}
	for _, pt := range begun {
		r.leaving[pt].announced = true
	}
	return all, begun, oldest, end, cause
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *Pipeline) holdup(all []*partition, end time.Time) *holdup {
	h := &holdup{end: end}
	for _, pt := range all {
		h.add(p, pt)
	}
	return h
}
