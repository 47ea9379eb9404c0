package kafka

import (
	"context"
	"io"
	"maps"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// findEnds records where the logs end now, for partitions without a known end.
func (s *Source) findEnds(ctx context.Context, names []assign.Partition) error {
	ends, queries := make(map[assign.Partition]int64), make(map[assign.Partition]metadata.Query)
	s.mu.Lock()
	for _, n := range names {
		if _, known := s.ends[n]; !known {
			queries[n] = metadata.Query{Latest: true}
		}
	}
	s.mu.Unlock()
	if err := s.offsets(ctx, queries, ends); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.ends, ends)
	return nil
}

// finished ends Accept with io.EOF when the group has committed the ends of all partitions. It reports whether only other
// members are missing: this member gets their partitions if they fail.
func (g *generation) finished(ctx context.Context) (waiting bool) {
	s := g.s
	s.mu.Lock()
	ours := len(g.todo) == 0 && len(g.live) == 0
	var others []assign.Partition
	for n := range s.ends {
		if !s.done[n] {
			others = append(others, n)
		}
	}
	s.mu.Unlock()
	if !ours {
		return false
	}
	stored, err := progress.ReadCommitted(ctx, s.cluster, others)
	if err != nil {
		return ctx.Err() == nil
	}
	s.mu.Lock()
	for _, n := range others {
		if stored[n].Offset < s.ends[n] {
			s.mu.Unlock()
			return true
		}
	}
	s.mu.Unlock()
	s.fail(io.EOF)
	return false
}
