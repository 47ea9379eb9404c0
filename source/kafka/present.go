package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// logs returns the topics with the identity of their logs. A topic that is gone may come back; it is waited for as long
// as a rebalance may take. With WatchTopics it may be absent, and is left out. A partition that does not exist is waited
// for too, but shortly: another broker may know it already.
func (s *Source) logs(ctx context.Context, names []partitionName) (map[string]metadata.Topic, error) {
	var topics []string
	for _, n := range names {
		topics = append(topics, n.Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	var found map[string]metadata.Topic
	begun := time.Now()
	err := s.retry(ctx, "topics", func(ctx context.Context) error {
		var err error
		found, err = s.reading.Cluster.Topics(ctx, topics)
		waited := time.Since(begun)
		switch {
		case errors.Is(err, metadata.ErrUnknownTopic) && s.cfg.WatchTopics && s.fatal(err) == nil:
			return nil
		case errors.Is(err, metadata.ErrUnknownTopic) && waited > s.cfg.RebalanceTimeout:
			return final{fmt.Errorf("%w: group %q: %w", ErrTopicMissing, s.group, err)}
		case err == nil && waited < absentAfter:
			for _, n := range names {
				if n.Number >= found[n.Topic].Partitions {
					return fmt.Errorf("%s/%d: %w", n.Topic, n.Number, kafkago.UnknownTopicOrPartition)
				}
			}
		}
		return err
	})
	return found, err
}

// absentAfter is how long brokers must say that a partition does not exist before it is left out.
const absentAfter = 5 * time.Second

// present returns the partitions that exist. The others were deleted with their topic, which may have been made again with
// fewer: they must not hold up the rest. They are forgotten, so that the watcher finds them when they come back.
func (s *Source) present(ctx context.Context, names []partitionName, topics map[string]metadata.Topic) []partitionName {
	s.mu.Lock()
	var here, gone []partitionName
	for _, n := range names {
		t, exists := topics[n.Topic]
		if exists && n.Number < t.Partitions {
			here = append(here, n)
			continue
		}
		gone = append(gone, n)
		s.done[n] = true
		if s.counts[n.Topic] = t.Partitions; !exists {
			delete(s.counts, n.Topic)
		}
	}
	s.mu.Unlock()
	for _, n := range gone {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the partition does not exist any more, it is left out",
			slog.String("group", s.group), slog.String("stream", n.Topic), slog.Int("partition", int(n.Number)))
	}
	return here
}
