package kafka

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
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
	others = slices.DeleteFunc(others, func(n assign.Partition) bool { return stored[n].Offset >= s.ends[n] })
	s.mu.Unlock()
	if len(others) > 0 && !s.gone(ctx, others) {
		return true
	}
	s.fail(io.EOF)
	return false
}

// gone reports whether none of the partitions exists any more.
func (s *Source) gone(ctx context.Context, names []assign.Partition) bool {
	ctx, cancel := context.WithTimeout(ctx, cluster.RequestTimeout)
	defer cancel()
	topics := make(map[string]bool)
	for _, n := range names {
		topics[n.Topic] = true
	}
	found, err := s.reading.Cluster.Topics(ctx, slices.Sorted(maps.Keys(topics)))
	if err != nil && !errors.Is(err, metadata.ErrUnknownTopic) || ctx.Err() != nil {
		return false
	}
	return !slices.ContainsFunc(names, func(n assign.Partition) bool { return n.Number < found[n.Topic].Partitions })
}
