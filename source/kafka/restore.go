package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/fetch"
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
	s.mu.Unlock()
	s.mu.Lock()
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
	ends, err := s.offsets(ctx, names, func(partitionName) (int64, fetch.Query, bool) {
		return 0, fetch.Query{Latest: true}, false
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.ends, ends)
	return nil
}

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

// logs returns the topics with the identity of their logs. A topic that is gone may come back; it is waited for as long
// as a rebalance may take. With WatchTopics it may be absent, and is left out. A partition that does not exist is waited
// for too, but shortly: another broker may know it already.
func (s *Source) logs(ctx context.Context, names []partitionName) (map[string]fetch.Topic, error) {
	var topics []string
	for _, n := range names {
		topics = append(topics, n.Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	var found map[string]fetch.Topic
	begun := time.Now()
	err := s.retry(ctx, "topics", func(ctx context.Context) error {
		var err error
		found, err = fetch.Topics(ctx, s.reading, topics)
		waited := time.Since(begun)
		switch {
		case errors.Is(err, fetch.ErrUnknownTopic) && s.cfg.WatchTopics && s.fatal(err) == nil:
			return nil
		case errors.Is(err, fetch.ErrUnknownTopic) && waited > s.cfg.RebalanceTimeout:
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
func (s *Source) present(ctx context.Context, names []partitionName, topics map[string]fetch.Topic) []partitionName {
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

// committed asks the coordinator what is committed, with metadata, which kafka-go's group does not tell.
func (s *Source) committed(ctx context.Context, names []partitionName) (map[partitionName]committed, error) {
	found := make(map[partitionName]committed, len(names))
	if len(names) == 0 {
		return found, nil
	}
	req := &offsetfetch.Request{GroupID: s.group}
	for _, n := range slices.SortedFunc(slices.Values(names), partitionName.Compare) {
		if len(req.Topics) == 0 || req.Topics[len(req.Topics)-1].Name != n.Topic {
			req.Topics = append(req.Topics, offsetfetch.RequestTopic{Name: n.Topic})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.PartitionIndexes = append(t.PartitionIndexes, n.Number)
	}
	err := s.retry(ctx, "read committed progress", func(ctx context.Context) error {
		resp, err := s.transport.RoundTrip(ctx, s.client.Addr, req)
		if err != nil {
			return err
		}
		r, ok := resp.(*offsetfetch.Response)
		if !ok {
			return fmt.Errorf("an answer of type %T", resp)
		}
		if code := kafkago.Error(r.ErrorCode); code != 0 && code != kafkago.GroupIdNotFound {
			return code
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if code := kafkago.Error(p.ErrorCode); code == kafkago.GroupIdNotFound {
					p.CommittedOffset = -1
				} else if code != 0 {
					return fmt.Errorf("%s/%d: %w", t.Name, p.PartitionIndex, kafkago.Error(p.ErrorCode))
				}
				found[partitionName{Topic: t.Name, Number: p.PartitionIndex}] = committed{offset: p.CommittedOffset, leaderEpoch: p.ComittedLeaderEpoch, metadata: p.Metadata}
			}
		}
		for _, n := range names {
			if _, answered := found[n]; !answered && kafkago.Error(r.ErrorCode) == kafkago.GroupIdNotFound {
				found[n] = committed{offset: -1, leaderEpoch: -1}
			} else if !answered {
				return fmt.Errorf("the broker did not answer for %s/%d", n.Topic, n.Number)
			}
		}
		return nil
	})
	return found, err
}

// cutAhead drops what was settled ahead and is not in the log any more: after an unclean election other messages stand
// there. (Below the frontier the reader notices it.)
func (s *Source) cutAhead(ctx context.Context, memories map[partitionName]memory) error {
	asked := make(map[string]map[int32]int32)
	for n, m := range memories {
		if len(m.ahead) > 0 && m.aheadEpoch >= 0 {
			if asked[n.Topic] == nil {
				asked[n.Topic] = make(map[int32]int32)
			}
			asked[n.Topic][n.Number] = m.aheadEpoch
		}
	}
	for topic, epochs := range asked {
		var ends map[int32]int64
		err := s.retry(ctx, "find leader epochs", func(ctx context.Context) (err error) {
			ends, err = fetch.EpochEnds(ctx, s.reading, topic, epochs)
			return err
		})
		if err != nil {
			return err
		}
		for number, end := range ends {
			n := partitionName{Topic: topic, Number: number}
			m := memories[n]
			before := len(m.ahead)
			last := m.ahead[before-1].To
			if m.ahead = below(m.ahead, end); end >= last {
				continue
			}
			memories[n] = m
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the log was cut below what was settled ahead; what stands there now is handled",
				slog.String("group", s.group), slog.String("stream", topic), slog.Int("partition", int(number)),
				slog.Int64("cut_at", end), slog.Int64("settled_to", last))
		}
	}
	return nil
}

// below returns the parts of ranges that lie below end.
func below(ranges []commit.Range, end int64) []commit.Range {
	var kept []commit.Range
	for _, r := range ranges {
		if r.To = min(r.To, end); r.From < r.To {
			kept = append(kept, r)
		}
	}
	return kept
}

// begins returns where each partition begins.
func (g *generation) begins(ctx context.Context, names []partitionName, memories map[partitionName]memory,
	stored map[partitionName]committed,
) (map[partitionName]int64, error) {
	s := g.s
	s.mu.Lock()
	base, forced := s.base, maps.Clone(g.forced)
	since := make(map[partitionName]begun, len(names))
	for _, n := range names {
		since[n] = s.begunLocked(n)
	}
	s.mu.Unlock()
	for _, n := range names {
		_, force := forced[n]
		if force || s.cfg.Start.covers(n) && base != nil && base.was[n] == stored[n] && !since[n].owned {
			m := memories[n]
			memories[n] = memory{epoch: m.epoch, leaderEpoch: -1, aheadEpoch: -1, replaced: m.replaced}
		}
	}
	return s.offsets(ctx, names, func(n partitionName) (int64, fetch.Query, bool) {
		m := memories[n]
		q, force := forced[n]
		switch {
		case force:
			return 0, q, false
		case m.known:
			return m.frontier, q, true
		case m.replaced: // everything in the new log came after what was committed
			return 0, q, false
		}
		return s.cfg.Start.place(n, since[n])
	})
}

// begunLocked tells what is known of a partition of which nothing is committed.
func (s *Source) begunLocked(n partitionName) begun {
	_, owned := s.epochs[n]
	return begun{owned: owned, later: n.Number >= s.found[n.Topic]}
}

// offsets returns an offset for each partition, asking the brokers where place only gives a query.
func (s *Source) offsets(ctx context.Context, names []partitionName,
	place func(partitionName) (int64, fetch.Query, bool),
) (map[partitionName]int64, error) {
	found := make(map[partitionName]int64, len(names))
	queries := make(map[string]map[int32]fetch.Query)
	for _, n := range names {
		o, q, known := place(n)
		if known {
			found[n] = o
			continue
		}
		if queries[n.Topic] == nil {
			queries[n.Topic] = make(map[int32]fetch.Query)
		}
		queries[n.Topic][n.Number] = q
	}
	for topic, qs := range queries {
		err := s.retry(ctx, "find offsets", func(ctx context.Context) error {
			answer, err := fetch.Offsets(ctx, s.reading, topic, qs)
			for number, o := range answer {
				found[partitionName{Topic: topic, Number: number}] = o
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
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

// claim gives each partition its epoch and commits it before the first message is read: the next owner then has a larger one,
// whatever becomes of this one, and a start that was chosen once is not chosen again.
func (g *generation) claim(ctx context.Context, names []partitionName, topics map[string]fetch.Topic,
	memories map[partitionName]memory, begins map[partitionName]int64,
) ([]*Partition, error) {
	s := g.s
	now := time.Now()
	var owned []*Partition
	var claims []*store
	var ended []partitionName
	for _, n := range names {
		m := memories[n]
		s.mu.Lock()
		epoch := nextEpoch(m.epoch, s.tried[n], g.id, now)
		s.tried[n] = epoch // also should the claim fail: nobody can tell whether it was stored
		end, finite := s.ends[n]
		s.mu.Unlock()
		if !finite {
			end = -1
		}
		restored := &commit.Progress{Log: topics[n.Topic].LogID, Epoch: epoch, Frontier: begins[n], Ahead: m.ahead}
		claimed := *restored
		if len(m.ahead) > 0 {
			claimed.Log = nameLog(claimed.Log, m.aheadEpoch)
		}
		claims = append(claims, &store{name: n, progress: &claimed, leaderEpoch: m.leaderEpoch})
		if finite && begins[n] >= end { // nothing to hand out, but the other members look for the commit
			ended = append(ended, n)
			continue
		}
		reading := s.reading
		reading.LogID = restored.Log
		reader := fetch.NewReader(reading, n.Topic, n.Number, begins[n])
		reader.Expect(m.leaderEpoch)
		owned = append(owned, &Partition{
			id:          source.ID{Stream: n.Topic, Partition: n.Number, Epoch: epoch},
			name:        n,
			gen:         g,
			restored:    restored,
			reader:      reader,
			leaving:     make(chan source.Leave, 2),
			leaderEpoch: m.leaderEpoch,
			aheadEpoch:  m.aheadEpoch,
			end:         end,
			position:    begins[n],
			frontier:    begins[n],
		})
	}
	if err := g.commits.commitAll(ctx, claims); err != nil {
		if errors.Is(err, commit.ErrFenced) { // the next generation claims them
			<-ctx.Done()
		}
		return owned, fmt.Errorf("kafka: group %q: claim: %w", s.group, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range ended {
		s.done[n] = true
	}
	return owned, nil
}

// retry calls f until it succeeds, ctx ends, or its error is one that waiting cannot heal.
func (s *Source) retry(ctx context.Context, what string, f func(context.Context) error) error {
	bo := newBackoff(s.cfg.JoinBackoff)
	for {
		asking, cancel := context.WithTimeout(ctx, 2*requestTimeout)
		err := f(asking)
		cancel()
		if err == nil {
			s.health.works(ctx, what)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if end, ok := errors.AsType[final](err); ok {
			return end.error
		}
		if f := s.fatal(err); f != nil {
			return f
		}
		s.health.fails(ctx, what, fmt.Errorf("group %q: %w", s.group, err))
		if !sleep(ctx, bo.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}
