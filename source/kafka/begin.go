package kafka

import (
	"context"
	"errors"
	"log/slog"
	"maps"

	"github.com/cenkalti/backoff/v4"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// survey runs before the first join. It finds out whether Start may override the committed progress, and where a finite
// source ends.
func (s *Source) survey(ctx context.Context, topics []string) error {
	var names []assign.Partition
	s.mu.Lock()
	for _, t := range topics {
		for n := range s.counts[t] {
			names = append(names, assign.Partition{Topic: t, Number: n})
		}
	}
	if s.found == nil {
		s.found = maps.Clone(s.counts)
	}
	s.mu.Unlock()
	if s.cfg.Start.overrides() {
		if err := s.surveyGroup(ctx, names); err != nil {
			return err
		}
	}
	if s.cfg.StopAtEnd {
		return s.findEnds(ctx, names)
	}
	return nil
}

// surveyGroup sets base if the group has no members. Start overrides the committed progress of a partition as long as that
// equals base: the first owner changes it at once.
func (s *Source) surveyGroup(ctx context.Context, names []assign.Partition) error {
	var members []kafkago.DescribeGroupsResponseMember
	err := s.cluster.Retry(ctx, "describe group", func(ctx context.Context) (err error) {
		members, err = s.cluster.Members(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if len(members) > 0 {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: group has members; starting at its committed progress",
			slog.String("group", s.cluster.Group), slog.String("start", s.cfg.Start.String()))
		return nil
	}
	base, err := progress.ReadCommitted(ctx, s.cluster, names)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.base = base
	s.mu.Unlock()
	return nil
}

// starts returns the start offset of each partition.
func (g *generation) starts(ctx context.Context, names []assign.Partition, restored map[assign.Partition]progress.Restored,
	stored map[assign.Partition]progress.Committed,
) (map[assign.Partition]int64, error) {
	s := g.s
	s.mu.Lock()
	base, forced := s.base, maps.Clone(g.forced)
	since := make(map[assign.Partition]begun, len(names))
	for _, n := range names {
		_, owned := s.epochs[n]
		since[n] = begun{owned: owned, later: n.Number >= s.found[n.Topic]}
	}
	s.mu.Unlock()
	for _, n := range names {
		_, force := forced[n]
		if force || s.cfg.Start.covers(n) && base != nil && base[n] == stored[n] && !since[n].owned {
			r := progress.Unknown(restored[n].Epoch)
			r.Replaced = restored[n].Replaced
			restored[n] = r
		}
	}
	found, queries := make(map[assign.Partition]int64, len(names)), make(map[assign.Partition]metadata.Query)
	for _, n := range names {
		r := restored[n]
		query, force := forced[n]
		offset, known := r.Frontier, r.Known
		if !force && !known && !r.Replaced { // all messages of a replaced log came after the commit
			offset, query, known = s.cfg.Start.place(n, since[n])
		}
		if known {
			found[n] = offset
		} else {
			queries[n] = query
		}
	}
	return found, s.offsets(ctx, queries, found)
}

// offsets asks the brokers for offsets and adds them to found.
func (s *Source) offsets(ctx context.Context, queries map[assign.Partition]metadata.Query, found map[assign.Partition]int64) error {
	for topic, qs := range byTopic(queries) {
		err := s.cluster.Retry(ctx, "find offsets", func(ctx context.Context) error {
			answer, err := s.reading.Cluster.Offsets(ctx, topic, qs)
			for number, o := range answer {
				found[assign.Partition{Topic: topic, Number: number}] = o
			}
			return deleted(err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleted makes the error of a topic that does not exist permanent.
func deleted(err error) error {
	if errors.Is(err, metadata.ErrUnknownTopic) {
		return backoff.Permanent(err)
	}
	return err
}

func byTopic[T any](all map[assign.Partition]T) map[string]map[int32]T {
	topics := make(map[string]map[int32]T)
	for n, v := range all {
		if topics[n.Topic] == nil {
			topics[n.Topic] = make(map[int32]T)
		}
		topics[n.Topic][n.Number] = v
	}
	return topics
}
