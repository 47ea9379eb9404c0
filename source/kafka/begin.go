package kafka

import (
	"context"
	"maps"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// begins returns where each partition begins.
func (g *generation) begins(ctx context.Context, names []partitionName, memories map[partitionName]memory,
	stored map[partitionName]committed,
) (map[partitionName]int64, error) {
	s := g.s
	s.mu.Lock()
	base, forced := s.base, maps.Clone(g.forced)
	since := make(map[partitionName]begun, len(names))
	for _, n := range names {
		since[n] = s.begunLocked(n)
	}
	s.mu.Unlock()
	for _, n := range names {
		_, force := forced[n]
		if force || s.cfg.Start.covers(n) && base != nil && base.was[n] == stored[n] && !since[n].owned {
			m := memories[n]
			memories[n] = memory{epoch: m.epoch, leaderEpoch: -1, aheadEpoch: -1, replaced: m.replaced}
		}
	}
	return s.offsets(ctx, names, func(n partitionName) (int64, metadata.Query, bool) {
		m := memories[n]
		q, force := forced[n]
		switch {
		case force:
			return 0, q, false
		case m.known:
			return m.frontier, q, true
		case m.replaced: // everything in the new log came after what was committed
			return 0, q, false
		}
		return s.cfg.Start.place(n, since[n])
	})
}

// begunLocked tells what is known of a partition of which nothing is committed.
func (s *Source) begunLocked(n partitionName) begun {
	_, owned := s.epochs[n]
	return begun{owned: owned, later: n.Number >= s.found[n.Topic]}
}

// offsets returns an offset for each partition, asking the brokers where place only gives a query.
func (s *Source) offsets(ctx context.Context, names []partitionName,
	place func(partitionName) (int64, metadata.Query, bool),
) (map[partitionName]int64, error) {
	found := make(map[partitionName]int64, len(names))
	queries := make(map[string]map[int32]metadata.Query)
	for _, n := range names {
		o, q, known := place(n)
		if known {
			found[n] = o
			continue
		}
		if queries[n.Topic] == nil {
			queries[n.Topic] = make(map[int32]metadata.Query)
		}
		queries[n.Topic][n.Number] = q
	}
	for topic, qs := range queries {
		err := s.retry(ctx, "find offsets", func(ctx context.Context) error {
			answer, err := s.reading.Cluster.Offsets(ctx, topic, qs)
			for number, o := range answer {
				found[partitionName{Topic: topic, Number: number}] = o
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
