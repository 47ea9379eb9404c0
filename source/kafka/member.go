package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
)

// run is the life of the member, until Close or a fatal error.
func (s *Source) run(ctx context.Context) {
	if s.cfg.StartTimeout > 0 {
		late := time.AfterFunc(s.cfg.StartTimeout, s.late)
		defer late.Stop()
	}
	if err := s.live(ctx); err != nil && ctx.Err() == nil {
		s.fail(err)
	}
}

// live reaches the cluster, looks up the topics and joins the group, again whenever the set of topics changes. It returns a
// fatal error, or nil when ctx has ended.
func (s *Source) live(ctx context.Context) error {
	if err := s.cluster.Reach(ctx); err != nil {
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
	// existing may succeed although ctx has ended: the answer and the end arrive together. Do not join again then.
	for ctx.Err() == nil {
		if err := s.join(ctx, topics); err != nil {
			return err
		}
		if topics, err = s.existing(ctx); err != nil {
			return err
		}
	}
	return nil
}

// late ends Accept unless the group is joined.
func (s *Source) late() {
	s.mu.Lock()
	joined := s.joined
	s.mu.Unlock()
	if joined {
		return
	}
	var causes []error
	for _, t := range s.cluster.Health.All() {
		causes = append(causes, fmt.Errorf("%s: %w", t.What, t.Err))
	}
	s.fail(fmt.Errorf("%w: group %q, topics %v, brokers %v, StartTimeout %v: %w", ErrStartTimeout, s.cluster.Group, s.topics,
		s.cluster.Brokers, s.cfg.StartTimeout, errors.Join(causes...)))
}

// join is one membership, bound to a set of topics. It returns a fatal error, or nil when ctx has ended or the set of topics
// has changed.
func (s *Source) join(ctx context.Context, topics []string) error {
	g, err := group.Join(ctx, topics, s.membership)
	if err != nil {
		return fmt.Errorf("kafka: group %q: %w", s.cluster.Group, err)
	}
	defer func() { g.Leave(context.WithoutCancel(ctx), s.released()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.running.Go(func() {
		select {
		case <-s.changed:
			stop()
		case <-ctx.Done():
		}
	})
	s.mu.Lock()
	s.enterLocked(stateJoining)
	s.mu.Unlock()
	bo := cluster.NewBackoff(s.cfg.JoinBackoff)
	for {
		gen, err := g.Next(ctx)
		switch {
		case err == nil:
			bo.Reset()
			s.cluster.Health.Works(ctx, "join")
			s.cluster.Health.Works(ctx, "heartbeat") // the last generation may have ended before a heartbeat was answered
			s.generation(gen)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafkago.RebalanceInProgress): // the library is joining again already
		default:
			if fatal := s.cluster.Fatal(err); fatal != nil {
				return fatal
			}
			s.cluster.Health.Fails(ctx, "join", fmt.Errorf("group %q, brokers %v: %w", s.cluster.Group, s.cluster.Brokers, cluster.Explain(err)))
			// The library waits too, for a constant time. It may have the next generation before this delay is over: that
			// has its heartbeats then, but its partitions are not offered yet.
			if !cluster.Sleep(ctx, min(bo.NextBackOff(), 2*time.Second)) {
				return nil
			}
		}
	}
}

// released returns the channel that is closed when the current generation has no partitions; nil if there is no generation.
func (s *Source) released() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	return s.current.over
}

// generation starts a generation. It does not block: this goroutine must wait in Next.
func (s *Source) generation(gen *kafkago.Generation) {
	var assigned []assign.Partition
	for topic, ps := range gen.Assignments {
		for _, p := range ps {
			assigned = append(assigned, assign.Partition{Topic: topic, Number: int32(p.ID)})
		}
	}
	slices.SortFunc(assigned, assign.Partition.Compare)
	if len(assigned) == 0 {
		s.cluster.Health.Forget("commit") // there is nothing to commit
	}
	g := newGeneration(s, group.NewSession(&s.membership, gen), assigned)
	s.mu.Lock()
	s.current = g
	s.joined = true
	s.enterLocked(stateMember)
	s.claims = assign.Claims{Generation: gen.ID, Owned: assigned}
	s.mu.Unlock()
	gen.Start(g.keep)
}

// left records that a generation is over.
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

// claimed returns the partitions that this member owned last, for the leader of the group.
func (s *Source) claimed() assign.Claims {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims
}
