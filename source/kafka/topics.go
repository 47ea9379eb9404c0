package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/nearest"
	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/progress"
)

// missingAfter is how long a topic must be missing at the start. Some brokers do not know a new topic yet.
const missingAfter = 2 * time.Second

// waitedAfter is missingAfter for a topic that is waited for, so that a line says so within 2 s, pauses between requests
// included.
const waitedAfter = 500 * time.Millisecond

// existing returns the topics that exist, and creates none. It runs before the first join: later, an absent topic is no error.
func (s *Source) existing(ctx context.Context) ([]string, error) {
	patience := missingAfter
	if s.cfg.WatchTopics {
		patience = waitedAfter
	}
	var found map[string]metadata.Topic
	err := s.cluster.Retry(ctx, "topics", func(ctx context.Context) (err error) {
		found, err = s.reading.Cluster.TopicsWithin(ctx, s.topics, patience)
		s.saw(found)
		switch {
		case !errors.Is(err, metadata.ErrUnknownTopic), s.cluster.Fatal(err) != nil: // one may be missing, another refused
			return err
		case !s.cfg.WatchTopics:
			return backoff.Permanent(fmt.Errorf("%w: group %q: %s (create it, or set Config.WatchTopics to wait for it)",
				ErrTopicMissing, s.cluster.Group, s.missing(ctx, found)))
		case len(found) == 0:
			return fmt.Errorf("%w: %s", ErrTopicMissing, s.missing(ctx, found))
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: waiting for topics that do not exist",
			slog.String("group", s.cluster.Group), slog.String("topics", s.missing(ctx, found)))
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// missing returns the topics that were not found, each with an existing one that has almost the same name.
func (s *Source) missing(ctx context.Context, found map[string]metadata.Topic) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	names, _ := s.reading.Cluster.Names(ctx) // without them there is no hint
	var missing []string
	for _, t := range s.topics {
		if _, exists := found[t]; exists {
			continue
		}
		if near := nearest.Name(t, names); near != "" {
			t += ": did you mean " + near + "?"
		}
		missing = append(missing, t)
	}
	return strings.Join(missing, ", ")
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

// find returns the partitions of topics for the plan. The whole group waits for it. A topic that this member knows may be
// absent for a moment, since a broker that has just started knows none: find waits for it.
func (s *Source) find(ctx context.Context, topics []string) []assign.Partition {
	ctx, cancel := context.WithTimeout(ctx, s.membership.Timeout())
	defer cancel()
	var found map[string]metadata.Topic
	var last error
	for {
		answer, err := s.reading.Cluster.Present(ctx, topics)
		if answer != nil {
			found = answer
		}
		if ctx.Err() == nil {
			last = err
		}
		if found != nil && !s.misses(found, topics) || !cluster.Sleep(ctx, findInterval) {
			break
		}
	}
	if last != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: assigning the partitions of a topic failed; retrying at the next rebalance",
			slog.String("group", s.cluster.Group), slog.Any("error", last))
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

// misses reports whether a topic is absent that this member knows.
func (s *Source) misses(found map[string]metadata.Topic, topics []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(topics, func(t string) bool {
		_, exists := found[t]
		return !exists && s.counts[t] > 0
	})
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
			g.session.End(causeTopics)
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

const (
	// absentAfter is how long a partition must be absent before it is dropped: another broker may know it.
	absentAfter = 5 * time.Second
	// findInterval is the time between two looks for an absent topic or partition.
	findInterval = 500 * time.Millisecond
)

// present returns the partitions that exist, and the topics with the identity of their logs. An absent partition is looked for
// again, until absentAfter; the others do not wait for it. Then it was deleted with its topic, which may exist again with fewer
// partitions. It is forgotten, so that the watcher finds it when it exists again.
func (g *generation) present(ctx context.Context, names []assign.Partition) ([]assign.Partition, map[string]metadata.Topic, error) {
	s := g.s
	asked := make(map[string]bool)
	for _, n := range names {
		asked[n.Topic] = true
	}
	var topics map[string]metadata.Topic
	err := s.cluster.Retry(ctx, "topics", func(ctx context.Context) (err error) {
		topics, err = s.reading.Cluster.Present(ctx, slices.Sorted(maps.Keys(asked)))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	var here, gone []assign.Partition
	now := time.Now()
	s.mu.Lock()
	for _, n := range names {
		t, exists := topics[n.Topic]
		if exists && n.Number < t.Partitions {
			delete(g.absent, n)
			here = append(here, n)
			continue
		}
		if _, known := g.absent[n]; !known {
			g.absent[n] = now
		}
		if now.Sub(g.absent[n]) < absentAfter {
			g.todo = append(g.todo, n)
			continue
		}
		delete(g.absent, n)
		gone = append(gone, n)
		s.done[n] = true
		if s.counts[n.Topic] = t.Partitions; !exists {
			delete(s.counts, n.Topic)
		}
	}
	s.mu.Unlock()
	if len(gone) > 0 {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: partitions do not exist any more; skipping them until they are made again",
			slog.String("group", s.cluster.Group), slog.Int("partitions", len(gone)), slog.String("names", name(gone)))
	}
	return here, topics, nil
}

// looking reports whether a partition is absent and looked for again.
func (g *generation) looking() bool {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	return len(g.absent) > 0
}
