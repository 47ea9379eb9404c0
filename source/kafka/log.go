package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
)

const (
	// joinPatience is how long a join takes before it is logged.
	joinPatience = 3 * time.Second
	// askTimeout bounds the request for the members of the group. Only log lines wait for it.
	askTimeout = 2 * time.Second

	causeTopics group.Cause = "topics or partitions were added"
)

func (s *Source) logConnected(ctx context.Context) {
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: connected", slog.String("group", s.cluster.Group),
		slog.Any("topics", s.topics), slog.Any("brokers", s.cluster.Brokers))
}

// logWaiting logs that a join takes long. Members that have joined do not process anything meanwhile.
func (s *Source) logWaiting(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: waiting for the group; other members drain, or one has crashed and its session has to time out",
		slog.String("group", s.cluster.Group), slog.Duration("waited", joinPatience),
		slog.Duration("at_most", s.cfg.RebalanceTimeout), slog.Duration("session_timeout", s.cfg.SessionTimeout))
}

// logJoined logs the partitions of this member in one line. It asks in the background how many members there are.
func (s *Source) logJoined(ctx context.Context, session *group.Session) {
	s.running.Go(func() {
		members := s.askMembers(ctx)
		attrs := []slog.Attr{
			slog.String("group", s.cluster.Group), slog.Int("generation", int(session.ID)), slog.String("member", session.Member),
			slog.Int("partitions", len(session.Assigned)), slog.String("assigned", name(session.Assigned)),
		}
		if members != nil {
			attrs = slices.Insert(attrs, 1, slog.Int("members", len(members)))
			s.mu.Lock()
			s.members = members
			s.mu.Unlock()
		}
		if len(session.Assigned) == 0 {
			s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: joined group; standing by without partitions", attrs...)
			return
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: joined group", attrs...)
	})
}

// logEnding logs why the partitions are revoked, and how long the group may take. The broker does not give the cause of a
// rebalance: a goroutine compares the members of the group with those of the generation that ends.
func (s *Source) logEnding(ctx context.Context, session *group.Session) {
	cause := session.Cause()
	if ctx.Err() != nil || cause == "" { // closing
		return
	}
	s.mu.Lock()
	before := s.members
	s.mu.Unlock()
	s.running.Go(func() {
		why := string(cause)
		if cause == group.Rebalance {
			why = change(before, s.askMembers(ctx))
		}
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "kafka: rebalancing; all members drain and join again", slog.String("group", s.cluster.Group),
			slog.Int("generation", int(session.ID)), slog.String("cause", why), slog.Duration("at_most", s.cfg.RebalanceTimeout))
	})
}

// askMembers returns the members of the group by id, with a name for people; nil if the broker does not answer.
func (s *Source) askMembers(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	found, err := s.cluster.Members(ctx)
	if err != nil {
		return nil
	}
	members := make(map[string]string, len(found))
	for _, m := range found {
		members[m.MemberID] = m.ClientID + "@" + strings.TrimPrefix(m.ClientHost, "/")
	}
	return members
}

// change describes how the members of a group have changed.
func change(before, after map[string]string) string {
	if before == nil || after == nil {
		return "a member joined, left or timed out"
	}
	var parts []string
	tell := func(event string, from, to map[string]string) {
		var names []string
		for id, name := range from {
			if _, both := to[id]; !both {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			parts = append(parts, event+" "+shorten(names, 3))
		}
	}
	tell("joined:", after, before)
	tell("left or timed out:", before, after)
	if len(parts) == 0 {
		return "a member joined again, or topics changed"
	}
	return strings.Join(parts, "; ")
}

// name returns partitions as one short text: orders[0-3 7] payments[1].
func name(ps []assign.Partition) string {
	topics := make(map[string][]int32)
	for _, p := range ps {
		topics[p.Topic] = append(topics[p.Topic], p.Number)
	}
	var all []string
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		all = append(all, topic+"["+shorten(ranges(topics[topic]), 20)+"]")
	}
	return shorten(all, 20)
}

// ranges returns sorted numbers as ranges.
func ranges(numbers []int32) []string {
	slices.Sort(numbers)
	var all []string
	for i := 0; i < len(numbers); {
		from, to := numbers[i], numbers[i]
		for i++; i < len(numbers) && numbers[i] == to+1; i++ {
			to = numbers[i]
		}
		if from == to {
			all = append(all, fmt.Sprint(from))
		} else {
			all = append(all, fmt.Sprintf("%d-%d", from, to))
		}
	}
	return all
}

// shorten joins parts, and counts those beyond most.
func shorten(parts []string, most int) string {
	if len(parts) <= most {
		return strings.Join(parts, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(parts[:most], " "), len(parts)-most)
}
