package kafka

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// restore makes partitions of names: it reads their committed progress, finds their start offsets, and claims them with a
// commit. With an error, discard the returned partitions.
func (g *generation) restore(ctx context.Context, names []assign.Partition) ([]*Partition, error) {
	s := g.s
	names, topics, err := g.present(ctx, names)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	stored, err := progress.ReadCommitted(ctx, s.cluster, names)
	if err != nil {
		return nil, err
	}
	restored := make(map[assign.Partition]progress.Restored, len(names))
	for _, n := range names {
		s.limit.Accepted(len(stored[n].Metadata))
		r := progress.Restore(stored[n], topics[n.Topic].LogID)
		if r.Foreign != nil {
			if s.cfg.ForeignProgress == ForeignFail {
				return nil, fmt.Errorf("%w: group %q, %s/%d at offset %d: %w", ErrForeignProgress, s.cluster.Group, n.Topic, n.Number,
					stored[n].Offset, r.Foreign)
			}
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: ignoring part of the committed progress",
				slog.String("group", s.cluster.Group), slog.String("stream", n.Topic), slog.Int("partition", int(n.Number)),
				slog.Int64("offset", stored[n].Offset), slog.Bool("offset_used", r.Known), slog.Any("error", r.Foreign))
		}
		restored[n] = r
	}
	if err := s.cutAhead(ctx, restored); err != nil {
		return nil, err
	}
	starts, err := g.starts(ctx, names, restored, stored)
	if err != nil {
		return nil, err
	}
	if s.cfg.StopAtEnd {
		if err := s.findEnds(ctx, names); err != nil {
			return nil, err
		}
	}
	return g.claim(ctx, names, topics, restored, starts)
}

// cutAhead drops the ranges ahead that an unclean election has replaced by other messages. (The reader notices a cut below
// the frontier.)
func (s *Source) cutAhead(ctx context.Context, restored map[assign.Partition]progress.Restored) error {
	asked := make(map[assign.Partition]int32)
	for n, r := range restored {
		if len(r.Ahead) > 0 && r.AheadEpoch >= 0 {
			asked[n] = r.AheadEpoch
		}
	}
	for topic, epochs := range byTopic(asked) {
		var ends map[int32]int64
		err := s.cluster.Retry(ctx, "find leader epochs", func(ctx context.Context) (err error) {
			ends, err = s.reading.Cluster.EpochEnds(ctx, topic, epochs)
			return deleted(err)
		})
		if err != nil {
			return err
		}
		for number, end := range ends {
			n := assign.Partition{Topic: topic, Number: number}
			r := restored[n]
			last := r.Ahead[len(r.Ahead)-1].To
			if end >= last {
				continue
			}
			r.Ahead = below(r.Ahead, end)
			restored[n] = r
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: log was cut below settled messages; handling the new messages",
				slog.String("group", s.cluster.Group), slog.String("stream", topic), slog.Int("partition", int(number)),
				slog.Int64("cut_at", end), slog.Int64("settled_to", last))
		}
	}
	return nil
}

// below returns the parts of ranges below end.
func below(ranges []commit.Range, end int64) []commit.Range {
	var kept []commit.Range
	for _, r := range ranges {
		if r.To = min(r.To, end); r.From < r.To {
			kept = append(kept, r)
		}
	}
	return kept
}
