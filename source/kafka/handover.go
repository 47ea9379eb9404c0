package kafka

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/keystrand/keystrand/source"
)

// handOver revokes all partitions. It returns when all are released or lost.
func (g *generation) handOver(ctx context.Context) {
	s := g.s
	deadline := g.session.RejoinBy().Add(-s.cfg.margin())
	g.withdraw(ctx)
	live := g.living()
	if len(live) == 0 {
		return
	}
	s.mu.Lock()
	s.enterLocked(stateHandingOver)
	s.mu.Unlock()
	for _, p := range live {
		p.revoke(source.Leave{Deadline: deadline})
	}
	draining, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	for {
		why := "the source was closed"
		select {
		case <-g.wake:
			if len(g.living()) == 0 {
				return
			}
			continue
		case <-g.session.Fenced():
			why = "the group continued without this member"
		case <-draining.Done():
			why = "not released before the rebalance timeout"
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: partitions not released before the rebalance timeout; lost",
				slog.String("group", s.cluster.Group), slog.Int("partitions", len(g.living())), slog.Duration("rebalance_timeout", s.cfg.RebalanceTimeout))
		case <-s.closing:
		}
		for _, p := range g.living() {
			p.lose(why)
		}
		return
	}
}

// withdraw ends the offers and releases the partitions that Accept has not returned.
func (g *generation) withdraw(ctx context.Context) {
	s := g.s
	s.mu.Lock()
	g.ended = true
	var back []*Partition
	s.queue = slices.DeleteFunc(s.queue, func(p *Partition) bool {
		if p.gen != g {
			return false
		}
		back = append(back, p)
		return true
	})
	s.mu.Unlock()
	for _, p := range back {
		_ = p.Release(ctx) // it does not block: nothing was committed
	}
}

// living returns the partitions that are offered and not released, sorted by name.
func (g *generation) living() []*Partition {
	g.s.mu.Lock()
	live := slices.Collect(maps.Values(g.live))
	g.s.mu.Unlock()
	slices.SortFunc(live, func(p, q *Partition) int { return p.name.Compare(q.name) })
	return live
}
