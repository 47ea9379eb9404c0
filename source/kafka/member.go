package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
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

// live reaches the cluster, looks up the topics and is a member of the group until ctx ends or an error is fatal.
func (s *Source) live(ctx context.Context) error {
	if err := s.cluster.Reach(ctx); err != nil {
		return err
	}
	s.logConnected(ctx)
	for {
		topics, err := s.existing(ctx)
		if err == nil {
			err = s.survey(ctx, topics)
		}
		if err == nil {
			break
		}
		if errors.Is(err, ErrTopicMissing) || !errors.Is(err, metadata.ErrUnknownTopic) { // else deleted meanwhile
			return err
		}
	}
	s.running.Go(func() { s.watch(ctx) })
	return s.join(ctx)
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
	for _, t := range s.trouble() {
		causes = append(causes, fmt.Errorf("%s: %w", t.What, t.Err))
	}
	if len(causes) == 0 { // other members drain, or an answer is about to be late
		causes = append(causes, errors.New("still waiting for the group: its other members may be draining"))
	}
	s.fail(fmt.Errorf("%w: group %q, topics %v, brokers %v, StartTimeout %v: %w", ErrStartTimeout, s.cluster.Group, s.topics,
		s.cluster.Brokers, s.cfg.StartTimeout, errors.Join(causes...)))
}

// join is the membership, generation after generation. It returns a fatal error, or nil when ctx has ended.
func (s *Source) join(ctx context.Context) error {
	g := group.New(s.membership)
	defer func() { g.Leave(context.WithoutCancel(ctx)) }()
	s.mu.Lock()
	s.enterLocked(stateJoining)
	s.mu.Unlock()
	bo := cluster.NewBackoff(s.cfg.JoinBackoff)
	for ctx.Err() == nil {
		session, err := s.waitForGroup(ctx, g)
		switch {
		case err == nil:
			bo.Reset()
			s.cluster.Health.Works(ctx, "join")
			if s.cfg.Alone && !session.Alone {
				return fmt.Errorf("%w: group %q: stop the others, or unset Config.Alone", ErrNotAlone, s.cluster.Group)
			}
			if err := s.checkDescriptors(ctx, len(session.Assigned)); err != nil {
				return err
			}
			s.generation(ctx, session)
		case ctx.Err() != nil:
		default:
			if fatal := s.cluster.Fatal(err); fatal != nil {
				return fatal
			}
			s.cluster.Fails(ctx, "join", fmt.Errorf("group %q, brokers %v: %w", s.cluster.Group, s.cluster.Brokers, cluster.Explain(err)))
			cluster.Sleep(ctx, min(bo.NextBackOff(), 2*time.Second))
		}
	}
	return nil
}

// waitForGroup joins the group. It logs once if that takes long: the group waits for members that drain, and for one that
// crashed until its session times out.
func (s *Source) waitForGroup(ctx context.Context, g *group.Group) (*group.Session, error) {
	slow := time.AfterFunc(joinPatience, func() { s.logWaiting(ctx) })
	defer slow.Stop()
	return g.Join(ctx)
}

// generation is one generation, until its partitions are released or lost.
func (s *Source) generation(ctx context.Context, session *group.Session) {
	if len(session.Assigned) == 0 {
		s.cluster.Health.Forget("commit") // there is nothing to commit
	}
	g := newGeneration(s, session)
	s.mu.Lock()
	s.current = g
	s.joined = true
	s.enterLocked(stateMember)
	s.claims = assign.Claims{Generation: session.ID, Owned: session.Assigned}
	s.mu.Unlock()
	g.keep(ctx)
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
