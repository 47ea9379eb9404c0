package kafka

import (
	"context"
	"errors"
	"log/slog"
	"maps"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// baseline is what was committed when this member found the group without members. A Start that does not look at what is
// committed counts for a partition as long as that is unchanged: whoever owns it first commits at once.
type baseline struct{ was map[partitionName]committed }

// survey learns what has to be known before the first join: whether Start may override what is committed, and where a
// finite source ends.
func (s *Source) survey(ctx context.Context, topics []string) error {
	var names []partitionName
	s.mu.Lock()
	for _, t := range topics {
		for n := range s.counts[t] {
			names = append(names, partitionName{Topic: t, Number: n})
		}
	}
	if s.found == nil {
		s.found = maps.Clone(s.counts)
	}
	s.mu.Unlock()
	if s.cfg.Start.overrides() {
		empty, err := s.groupIsEmpty(ctx)
		if err != nil {
			return err
		}
		if empty {
			was, err := s.committed(ctx, names)
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.base = &baseline{was: was}
			s.mu.Unlock()
		} else {
			s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: the group has members, going on from what is committed",
				slog.String("group", s.group), slog.String("start", s.cfg.Start.String()))
		}
	}
	if s.cfg.StopAtEnd {
		return s.findEnds(ctx, names)
	}
	return nil
}

func (s *Source) groupIsEmpty(ctx context.Context) (bool, error) {
	empty := false
	err := s.retry(ctx, "describe group", func(ctx context.Context) error {
		resp, err := s.client.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{GroupIDs: []string{s.group}})
		if err != nil {
			return err
		}
		if len(resp.Groups) == 0 {
			return errors.New("the broker did not answer for the group")
		}
		d := resp.Groups[0]
		if errors.Is(d.Error, kafkago.GroupIdNotFound) {
			empty = true
			return nil
		}
		empty = len(d.Members) == 0
		return d.Error
	})
	return empty, err
}

// findEnds notes where the logs end now.
func (s *Source) findEnds(ctx context.Context, names []partitionName) error {
	ends, err := s.offsets(ctx, names, func(partitionName) (int64, metadata.Query, bool) {
		return 0, metadata.Query{Latest: true}, false
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.ends, ends)
	return nil
}

// newEnds finds the ends of partitions that did not exist when the source began.
func (s *Source) newEnds(ctx context.Context, names []partitionName) error {
	s.mu.Lock()
	var fresh []partitionName
	for _, n := range names {
		if _, known := s.ends[n]; !known {
			fresh = append(fresh, n)
		}
	}
	s.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	return s.findEnds(ctx, fresh)
}
