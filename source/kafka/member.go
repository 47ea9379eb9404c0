package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// run is the life of the member: reach the cluster, know the topics, join, and stay until Close or an error that waiting
// cannot heal.
func (s *Source) run(ctx context.Context) {
	if s.cfg.StartTimeout > 0 {
		late := time.AfterFunc(s.cfg.StartTimeout, func() { s.late() })
		defer late.Stop()
	}
	if err := s.live(ctx); err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

// live returns only an error, or nil when ctx has ended.
func (s *Source) live(ctx context.Context) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	topics, err := s.existing(ctx)
	if err != nil {
		return err
	}
	if err := s.survey(ctx, topics); err != nil {
		return err
	}
	s.running.Go(func() { s.watch(ctx) })
	for {
		again, err := s.join(ctx, topics)
		if err != nil || !again {
			return err
		}
		if topics, err = s.existing(ctx); err != nil {
			return err
		}
	}
}

// late ends Accept if the group was not joined yet.
func (s *Source) late() {
	s.mu.Lock()
	joined := s.joined
	s.mu.Unlock()
	if joined {
		return
	}
	var causes []error
	for _, t := range s.health.All() {
		causes = append(causes, fmt.Errorf("%s: %w", t.What, t.Err))
	}
	s.fail(fmt.Errorf("%w: group %q, topics %v, brokers %v, StartTimeout %v: %w", ErrStartTimeout, s.group, s.topics,
		s.brokers, s.cfg.StartTimeout, errors.Join(causes...)))
}

// existing returns the topics that exist, and asks without creating any. kafka-go's group must not see an absent one: it
// asks in a way that creates it.
func (s *Source) existing(ctx context.Context) ([]string, error) {
	bo := newBackoff(s.cfg.JoinBackoff)
	for attempt := 1; ; attempt++ {
		found, err := s.reading.Cluster.Topics(ctx, s.topics)
		if ended(ctx, err) {
			return nil, context.Cause(ctx)
		}
		s.saw(found)
		missing := errors.Is(err, metadata.ErrUnknownTopic)
		if f := s.fatal(err); f != nil { // of one topic, perhaps, where another is only missing
			return nil, f
		}
		switch {
		case err == nil, missing && s.cfg.WatchTopics && len(found) > 0:
			s.health.Works(ctx, "topics")
			return slices.Sorted(maps.Keys(found)), nil
		case missing && !s.cfg.WatchTopics && attempt >= 3: // a topic made a moment ago is not known to all brokers
			return nil, fmt.Errorf("%w: group %q: %w", ErrTopicMissing, s.group, err)
		}
		s.health.Fails(ctx, "topics", err)
		if !sleep(ctx, bo.NextBackOff()) {
			return nil, context.Cause(ctx)
		}
	}
}

// saw notes how many partitions topics have, and returns what is new: partitions of topics that were known, and whether
// there are topics that were not.
func (s *Source) saw(found map[string]metadata.Topic) (fresh []partitionName, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range found {
		before, known := s.counts[name]
		added = added || !known
		for n := before; known && n < t.Partitions; n++ {
			fresh = append(fresh, partitionName{Topic: name, Number: n})
		}
		s.counts[name] = max(before, t.Partitions)
	}
	return fresh, added
}

// join is one membership with kafka-go's group, which is bound to a set of topics. It reports whether to join again with
// other topics.
func (s *Source) join(ctx context.Context, topics []string) (again bool, err error) {
	lines := &lines{dial: s.cfg.Dial, open: make(map[net.Conn]bool)}
	cg, err := s.newGroup(ctx, topics, lines)
	if err != nil {
		return false, fmt.Errorf("kafka: group %q: %w", s.group, err)
	}
	defer s.quit(ctx, cg, lines)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.running.Go(func() { // new topics: leave, and join with them
		select {
		case <-s.changed:
			stop()
		case <-ctx.Done():
		}
	})
	s.mu.Lock()
	s.enterLocked(stateJoining)
	s.mu.Unlock()
	bo := newBackoff(s.cfg.JoinBackoff)
	for {
		gen, err := cg.Next(ctx)
		switch {
		case err == nil:
			bo.Reset()
			s.health.Works(ctx, "join")
			s.health.Works(ctx, "heartbeat") // of a hand-over that ended before one was answered: we are a member
			s.generation(gen)
		case ctx.Err() != nil:
			return true, nil
		case errors.Is(err, kafkago.RebalanceInProgress): // the next attempt is under way already
		default:
			if f := s.fatal(err); f != nil {
				return false, f
			}
			s.health.Fails(ctx, "join", fmt.Errorf("group %q, brokers %v: %w", s.group, s.brokers, worded(err)))
			// The library waits too, always equally long. While we wait it can already stand ready with a generation,
			// which then has its heartbeats, but not yet its partitions.
			if !sleep(ctx, min(bo.NextBackOff(), 2*time.Second)) {
				return true, nil
			}
		}
	}
}

func (s *Source) newGroup(ctx context.Context, topics []string, lines *lines) (*kafkago.ConsumerGroup, error) {
	dialer := new(*s.dialer)
	dialer.DialFunc, dialer.ClientID = lines.connect, s.memberName
	return kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                s.group,
		Brokers:           s.brokers,
		Dialer:            dialer,
		Topics:            topics,
		GroupBalancers:    balancers(s.cfg.Strategy, s.claimed, s.fail, func(topics []string) []assign.Partition { return s.find(ctx, topics) }),
		HeartbeatInterval: s.cfg.HeartbeatInterval,
		SessionTimeout:    s.cfg.SessionTimeout,
		RebalanceTimeout:  s.cfg.RebalanceTimeout,
		JoinGroupBackoff:  s.cfg.JoinBackoff,
		Timeout:           s.cfg.groupTimeout(),
		Logger: kafkago.LoggerFunc(func(format string, args ...any) {
			s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "kafka-go", slog.String("says", fmt.Sprintf(format, args...)))
		}),
	})
}

// quit leaves the group: what is owned is handed over, then the library leaves. When that finds it in the middle of a
// join, which lasts as long as others drain, we leave in its place, and the join ends. Its lines are cut only if that
// fails: then the broker keeps the member, with partitions that nobody reads, until its session is over.
func (s *Source) quit(ctx context.Context, cg *kafkago.ConsumerGroup, lines *lines) {
	ctx = context.WithoutCancel(ctx)
	left := make(chan struct{})
	s.running.Go(func() {
		_ = cg.Close() // it always returns nil
		close(left)
	})
	s.mu.Lock()
	g := s.current
	s.mu.Unlock()
	if g != nil {
		<-g.over
	}
	patience := time.NewTimer(quitPatience)
	defer patience.Stop()
	for _, act := range []func(){func() { s.leave(ctx) }, lines.cut} {
		select {
		case <-left:
			return
		case <-patience.C:
			act()
			patience.Reset(quitPatience)
		}
	}
	<-left
}

// leave tells the broker that we leave, whatever the library is doing. Who joins for the first time does not know its
// id before the join is over; the broker does, and knows us by our name.
func (s *Source) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*quitPatience)
	defer cancel()
	req := &kafkago.LeaveGroupRequest{GroupID: s.group}
	resp, err := s.client.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{GroupIDs: []string{s.group}})
	if err == nil {
		for _, d := range resp.Groups {
			for _, m := range d.Members {
				if m.ClientID == s.memberName {
					req.Members = append(req.Members, kafkago.LeaveGroupRequestMember{ID: m.MemberID})
				}
			}
		}
		if len(req.Members) == 0 {
			return // the library has done it meanwhile
		}
		_, err = s.client.LeaveGroup(ctx, req)
	}
	if err != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the group could not be left, the session will run out",
			slog.String("group", s.group), slog.Any("error", err))
	}
}

const quitPatience = 2 * time.Second

// generation begins to keep a generation. It does not block: somebody must always wait in Next, since the library hands
// over errors and generations without a buffer.
func (s *Source) generation(gen *kafkago.Generation) {
	var assigned []partitionName
	for topic, ps := range gen.Assignments {
		for _, p := range ps {
			assigned = append(assigned, partitionName{Topic: topic, Number: int32(p.ID)})
		}
	}
	slices.SortFunc(assigned, partitionName.Compare)
	if len(assigned) == 0 {
		s.health.Forget("commit") // there is nothing to commit
	}
	g := newGeneration(s, gen.ID, gen.MemberID, assigned)
	s.mu.Lock()
	s.current = g
	s.joined = true
	s.enterLocked(stateMember)
	s.claims = assign.Claims{Generation: gen.ID, Owned: assigned}
	s.mu.Unlock()
	gen.Start(g.keep)
}

// left notes that a generation is over.
func (s *Source) left(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == g {
		s.current = nil
		s.enterLocked(stateJoining)
	}
}

func (s *Source) enterLocked(to state) {
	if s.state != stateFailed && s.state != stateClosed {
		s.state = to
	}
}

// claimed returns what the member tells the leader when it joins.
func (s *Source) claimed() assign.Claims {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims
}

// find returns the partitions of topics that kafka-go has not seen, for the plan of the group. All members wait for it.
func (s *Source) find(ctx context.Context, topics []string) []assign.Partition {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.groupTimeout())
	defer cancel()
	found, err := s.reading.Cluster.Topics(ctx, topics)
	if err != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: a topic cannot be shared out now", slog.String("group", s.group), slog.Any("error", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ps []assign.Partition
	for _, t := range topics {
		count := found[t].Partitions
		if found == nil { // no answer: what was there is likely to be there
			count = s.counts[t]
		} else if count == 0 {
			delete(s.counts, t) // the watcher begins a rebalance when it comes back
		}
		for n := range count {
			ps = append(ps, assign.Partition{Topic: t, Number: n})
		}
	}
	return ps
}

// watch looks for new partitions and topics until ctx ends. The leader of the group shares out what it sees when it is
// made leader, so somebody has to begin a rebalance when there is more. Every member looks, each at another time: who
// finds new partitions that somebody has claimed by then need not do anything.
func (s *Source) watch(ctx context.Context) {
	if s.cfg.StopAtEnd {
		return // what comes later is not part of it
	}
	var fresh []partitionName
	for sleep(ctx, s.cfg.WatchInterval) {
		asking, cancel := context.WithTimeout(ctx, s.cfg.WatchInterval+requestTimeout)
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
		fresh = s.unclaimed(ctx, append(fresh, grown...))
		s.mu.Lock()
		g := s.current
		s.mu.Unlock()
		if len(fresh) > 0 && g != nil {
			g.rejoin()
		}
		if err != nil && (!errors.Is(err, metadata.ErrUnknownTopic) || !s.cfg.WatchTopics) {
			s.health.Fails(ctx, "watch topics", err)
			continue
		}
		s.health.Works(ctx, "watch topics")
	}
}

// forget drops the topics that do not exist any more: when they come back they are new.
func (s *Source) forget(found map[string]metadata.Topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.counts, func(topic string, _ int32) bool {
		_, exists := found[topic]
		return !exists
	})
}

// unclaimed returns those of the partitions that no member has claimed.
func (s *Source) unclaimed(ctx context.Context, names []partitionName) []partitionName {
	stored, err := s.committed(ctx, names)
	if err != nil {
		return names
	}
	return slices.DeleteFunc(names, func(n partitionName) bool { return stored[n].offset >= 0 })
}
