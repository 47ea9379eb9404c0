package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// existing returns the topics that exist, and creates none. kafka-go's group must not see an absent topic: its request for
// metadata creates topics.
func (s *Source) existing(ctx context.Context) ([]string, error) {
	var found map[string]metadata.Topic
	attempts := 0
	err := s.cluster.Retry(ctx, "topics", func(ctx context.Context) (err error) {
		found, err = s.reading.Cluster.Topics(ctx, s.topics)
		s.saw(found)
		attempts++
		// One topic may be missing and another one have a fatal error.
		missing := errors.Is(err, metadata.ErrUnknownTopic) && s.cluster.Fatal(err) == nil
		switch {
		case missing && s.cfg.WatchTopics && len(found) > 0:
			return nil
		case missing && !s.cfg.WatchTopics && attempts >= 3: // some brokers do not know a new topic yet
			return backoff.Permanent(fmt.Errorf("%w: group %q: %w", ErrTopicMissing, s.cluster.Group, err))
		}
		return err
	})
	return slices.Sorted(maps.Keys(found)), err
}

// saw records how many partitions topics have. It returns the new partitions of known topics, and whether a topic is new.
func (s *Source) saw(found map[string]metadata.Topic) (fresh []assign.Partition, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range found {
		before, known := s.counts[name]
		added = added || !known
		for n := before; known && n < t.Partitions; n++ {
			fresh = append(fresh, assign.Partition{Topic: name, Number: n})
		}
		s.counts[name] = max(before, t.Partitions)
	}
	return fresh, added
}

// find returns the partitions of topics for which kafka-go found none. The whole group waits for it.
func (s *Source) find(ctx context.Context, topics []string) []assign.Partition {
	ctx, cancel := context.WithTimeout(ctx, s.membership.Timeout())
	defer cancel()
	found, err := s.reading.Cluster.Topics(ctx, topics)
	if err != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: assigning the partitions of a topic failed; retrying at the next rebalance",
			slog.String("group", s.cluster.Group), slog.Any("error", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ps []assign.Partition
	for _, t := range topics {
		count := found[t].Partitions
		if found == nil { // no answer: assume that nothing has changed
			count = s.counts[t]
		} else if count == 0 {
			delete(s.counts, t) // the watcher starts a rebalance when the topic exists again
		}
		for n := range count {
			ps = append(ps, assign.Partition{Topic: t, Number: n})
		}
	}
	return ps
}

// watch looks for new partitions and topics until ctx ends. The leader of the group assigns the partitions that existed when
// it became the leader, so a member has to start a rebalance for new ones. Every member looks, at a time of its own; new
// partitions that another member has claimed by then need no rebalance.
func (s *Source) watch(ctx context.Context) {
	if s.cfg.StopAtEnd {
		return // later partitions are not read
	}
	var fresh []assign.Partition
	for cluster.Sleep(ctx, s.cfg.WatchInterval) {
		asking, cancel := context.WithTimeout(ctx, s.cfg.WatchInterval+cluster.RequestTimeout)
		found, err := s.reading.Cluster.Topics(asking, s.topics)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, metadata.ErrUnknownTopic) {
			s.forget(found)
		}
		grown, added := s.saw(found)
		if added {
			poke(s.changed)
		}
		fresh = append(fresh, grown...)
		if stored, err := progress.ReadCommitted(ctx, s.cluster, fresh); err == nil {
			fresh = slices.DeleteFunc(fresh, func(n assign.Partition) bool { return stored[n].Offset >= 0 }) // claimed
		}
		s.mu.Lock()
		g := s.current
		s.mu.Unlock()
		if len(fresh) > 0 && g != nil {
			poke(g.again)
		}
		if err != nil && (!errors.Is(err, metadata.ErrUnknownTopic) || !s.cfg.WatchTopics) {
			s.cluster.Health.Fails(ctx, "watch topics", err)
			continue
		}
		s.cluster.Health.Works(ctx, "watch topics")
	}
}

// forget drops the topics that do not exist any more: they are new when they exist again.
func (s *Source) forget(found map[string]metadata.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.counts, func(topic string, _ int32) bool {
		_, exists := found[topic]
		return !exists
	})
}

// absentAfter is how long a partition must be absent before it is dropped.
const absentAfter = 5 * time.Second

// logs returns the topics with the identity of their logs. It waits for an absent topic as long as a rebalance may take; with
// WatchTopics it leaves the topic out. It waits for an absent partition up to absentAfter: another broker may know it.
func (s *Source) logs(ctx context.Context, names []assign.Partition) (map[string]metadata.Topic, error) {
	topics := make(map[string]bool)
	for _, n := range names {
		topics[n.Topic] = true
	}
	var found map[string]metadata.Topic
	start := time.Now()
	err := s.cluster.Retry(ctx, "topics", func(ctx context.Context) (err error) {
		found, err = s.reading.Cluster.Topics(ctx, slices.Sorted(maps.Keys(topics)))
		waited := time.Since(start)
		switch {
		case errors.Is(err, metadata.ErrUnknownTopic) && s.cfg.WatchTopics && s.cluster.Fatal(err) == nil:
			return nil
		case errors.Is(err, metadata.ErrUnknownTopic) && waited > s.cfg.RebalanceTimeout:
			return backoff.Permanent(fmt.Errorf("%w: group %q: %w", ErrTopicMissing, s.cluster.Group, err))
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

// present returns the partitions that exist. The others were deleted with their topic, which may exist again with fewer. They
// are forgotten, so that the watcher finds them when they exist again.
func (s *Source) present(ctx context.Context, names []assign.Partition, topics map[string]metadata.Topic) []assign.Partition {
	s.mu.Lock()
	var here, gone []assign.Partition
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
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: partition does not exist any more; skipping it",
			slog.String("group", s.cluster.Group), slog.String("stream", n.Topic), slog.Int("partition", int(n.Number)))
	}
	return here
}
