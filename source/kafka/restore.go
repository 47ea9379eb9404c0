package kafka

import (
	"context"
	"fmt"
	"log/slog"
)

// restore makes partitions out of names: it reads what is committed, finds where to begin, and claims each with its new
// epoch by a commit. With an error, what it returns beside is to be discarded.
func (g *generation) restore(ctx context.Context, names []partitionName) ([]*Partition, error) {
	s := g.s
	topics, err := s.logs(ctx, names)
	if err != nil {
		return nil, err
	}
	if names = s.present(ctx, names, topics); len(names) == 0 {
		return nil, nil
	}
	stored, err := s.committed(ctx, names)
	if err != nil {
		return nil, err
	}
	memories := make(map[partitionName]memory, len(names))
	for _, n := range names {
		m := recall(stored[n], topics[n.Topic].LogID)
		if m.foreign != nil {
			if s.cfg.ForeignProgress == ForeignFail {
				return nil, fmt.Errorf("%w: group %q, %s/%d at offset %d: %w", ErrForeignProgress, s.group, n.Topic, n.Number,
					stored[n].offset, m.foreign)
			}
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: committed progress is not believed in full",
				slog.String("group", s.group), slog.String("stream", n.Topic), slog.Int("partition", int(n.Number)),
				slog.Int64("offset", stored[n].offset), slog.Bool("offset_believed", m.known), slog.Any("error", m.foreign))
		}
		memories[n] = m
	}
	if err := s.cutAhead(ctx, memories); err != nil {
		return nil, err
	}
	begins, err := g.begins(ctx, names, memories, stored)
	if err != nil {
		return nil, err
	}
	if s.cfg.StopAtEnd {
		if err := s.newEnds(ctx, names); err != nil {
			return nil, err
		}
	}
	return g.claim(ctx, names, topics, memories, begins)
}
