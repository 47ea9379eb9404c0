package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Session is the membership in one generation, and the proof that the coordinator still knows it.
//
// A Session is safe for concurrent use.
type Session struct {
	Cluster  *cluster.Client
	ID       int32 // of the generation
	Member   string
	Alone    bool               // the group has no other member
	Assigned []assign.Partition // sorted

	coordinator *coordinator
	interval    time.Duration // of heartbeats
	retry       time.Duration // delay after a heartbeat without an answer
	rebalance   time.Duration // the rebalance timeout
	fenced      chan struct{} // closed: the coordinator does not know the member
	ending      chan struct{} // closed: the partitions must be released and the group be joined again
	once        sync.Once

	mu       sync.Mutex
	answered time.Time // when the last request that proves the membership was sent
	stable   time.Time // when the last request was sent to which the coordinator answered that the group does not rebalance
	cause    Cause
}

// Cause is why a generation ends.
type Cause string

const (
	// Rebalance is the cause that the coordinator gives: a member joined, left or timed out.
	Rebalance Cause = "the group rebalances"
	// Silence is the cause of a coordinator that has not answered for most of the session timeout.
	Silence Cause = "the coordinator does not answer"
	// Fenced is the cause of a membership that is lost.
	Fenced Cause = "the membership is lost"
)

// newSession returns the Session of a generation that has just begun, with a request that was sent then.
func newSession(cfg *Config, c *coordinator, j *joined, assigned []assign.Partition, sent time.Time) *Session {
	interval := min(cfg.HeartbeatInterval, cfg.Cluster.SessionTimeout/5, cfg.RebalanceTimeout/5)
	return &Session{
		Cluster:     cfg.Cluster,
		ID:          j.generation,
		Member:      j.member,
		Alone:       j.leader && len(j.members) == 1,
		Assigned:    assigned,
		coordinator: c,
		interval:    interval,
		retry:       min(interval, cfg.Cluster.Backoff),
		rebalance:   cfg.RebalanceTimeout,
		fenced:      make(chan struct{}),
		ending:      make(chan struct{}),
		answered:    sent,
		stable:      sent,
	}
}

// Fenced returns a channel that is closed when the membership is lost.
func (s *Session) Fenced() <-chan struct{} { return s.fenced }

// Ending returns a channel that is closed when the partitions must be released, because the group rebalances or the membership
// is lost.
func (s *Session) Ending() <-chan struct{} { return s.ending }

// Cause returns why the session ends; empty while it does not.
func (s *Session) Cause() Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// End ends the generation. Only the first cause counts.
func (s *Session) End(cause Cause) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == "" {
		s.cause = cause
		close(s.ending)
	}
}

// Fence ends the membership and logs why, once.
func (s *Session) Fence(ctx context.Context, why error) {
	s.once.Do(func() {
		s.End(Fenced)
		close(s.fenced) // a log that blocks must not delay it
		s.Cluster.Log.LogAttrs(ctx, slog.LevelWarn, "kafka: membership lost; its partitions are lost",
			slog.String("group", s.Cluster.Group), slog.Int("generation", int(s.ID)), slog.Any("error", why))
	})
}

// Answered records that the coordinator accepted a request of this member, sent at that time. The session is extended from
// some time after sent on; the answer itself may have been delayed.
func (s *Session) Answered(sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent.After(s.answered) {
		s.answered = sent
	}
}

// RejoinBy returns when the coordinator may evict the member for not having joined a rebalance. That may have begun right after
// the last heartbeat that did not tell of it, long before one that does.
func (s *Session) RejoinBy() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stable.Add(s.rebalance)
}

// expires returns when the coordinator may assign the partitions to others if it gives no further answer. In a rebalance that
// the member knows of, its partitions are released or lost before RejoinBy.
func (s *Session) expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, rebalance := s.answered.Add(s.Cluster.SessionTimeout), s.stable.Add(s.rebalance)
	if s.cause != Rebalance && rebalance.Before(session) {
		return rebalance
	}
	return session
}

// beaten records the answer to a heartbeat.
func (s *Session) beaten(sent time.Time, rebalances error) {
	s.Answered(sent)
	if rebalances != nil {
		s.End(Rebalance)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stable = sent
}

// Keep sends heartbeats until ctx ends or the session is fenced, also while the partitions drain: the coordinator would evict
// a member that drains for longer than the session timeout.
//
// A heartbeat without an answer is sent again, with the same member id and generation: a broker that restarts, a coordinator
// that moves and an expired SASL session cost no rebalance. Keep ends the session shortly before it would have to fence it.
// Keep fences the session if the coordinator does not know the member, or has not answered for so long that it may have
// assigned the partitions to others.
func (s *Session) Keep(ctx context.Context) {
	for {
		sent := time.Now()
		err := s.beat(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := s.interval
		switch {
		case err == nil, errors.Is(err, kafkago.RebalanceInProgress): // it extends the session as any answer does
			s.beaten(sent, err)
			s.Cluster.Health.Works(ctx, "heartbeat")
		case Gone(err):
			s.Fence(ctx, err)
			return
		default:
			fenced := s.late(ctx, err)
			s.Cluster.Health.Fails(ctx, "heartbeat", fmt.Errorf("group %q: %w", s.Cluster.Group, err))
			if fenced {
				return
			}
			pause = s.retry
		}
		if s.paused(ctx) || !cluster.Sleep(ctx, pause) || s.paused(ctx) {
			return
		}
	}
}

// paused fences a session that has ended while this process was paused. The next heartbeat would tell, but it may have no answer.
func (s *Session) paused(ctx context.Context) bool {
	late := time.Since(s.expires())
	if late < 0 {
		return false
	}
	s.Fence(ctx, fmt.Errorf("this process was paused until %v after the end of its session", late.Round(time.Millisecond)))
	return true
}

// late ends the session while partitions may still drain, and fences it before the coordinator may have assigned them to
// others. The next check comes after another heartbeat and a pause.
func (s *Session) late(ctx context.Context, err error) (fenced bool) {
	left, next := time.Until(s.expires()), s.interval+s.retry
	if left < next {
		s.Fence(ctx, fmt.Errorf("no answer for almost the session timeout of %v or the rebalance timeout of %v: %w",
			s.Cluster.SessionTimeout, s.rebalance, err))
		return true
	}
	if left < 2*next {
		s.End(Silence)
	}
	return false
}

// Gone reports whether the broker answered that this is no member of the generation.
func Gone(err error) bool {
	return errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.IllegalGeneration) ||
		errors.Is(err, kafkago.FencedInstanceID)
}

// beat sends one heartbeat.
func (s *Session) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.interval)
	defer cancel()
	var w wire.Writer
	w.Text(s.Cluster.Group)
	w.I32(s.ID)
	w.Text(s.Member)
	_, err := s.coordinator.do(ctx, keyHeartbeat, version, w.B, 0)
	return err
}
