package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/heartbeat"

	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
)

// Session is the membership in one generation, and the proof that the coordinator still knows it.
//
// A Session is safe for concurrent use.
type Session struct {
	Cluster *cluster.Client
	ID      int32 // of the generation
	Member  string

	interval time.Duration // of heartbeats
	unknown  time.Duration // the last answer to a heartbeat of the library is at most this old
	fenced   chan struct{} // closed: the coordinator does not know the member
	once     sync.Once

	mu       sync.Mutex
	answered time.Time // when the last request that proves the membership was sent
}

// NewSession returns the Session of a generation that has just begun.
func NewSession(cfg *Config, gen *kafkago.Generation) *Session {
	return &Session{
		Cluster:  cfg.Cluster,
		ID:       gen.ID,
		Member:   gen.MemberID,
		interval: min(cfg.HeartbeatInterval, cfg.Cluster.SessionTimeout/5),
		unknown:  cfg.HeartbeatInterval + cfg.Timeout(),
		fenced:   make(chan struct{}),
		answered: time.Now(),
	}
}

// Fenced returns a channel that is closed when the membership is lost.
func (s *Session) Fenced() <-chan struct{} { return s.fenced }

// Fence ends the membership and logs why, once.
func (s *Session) Fence(ctx context.Context, why error) {
	s.once.Do(func() {
		s.Cluster.Log.LogAttrs(ctx, slog.LevelWarn, "kafka: membership lost; its partitions are lost",
			slog.String("group", s.Cluster.Group), slog.Int("generation", int(s.ID)), slog.Any("error", why))
		close(s.fenced)
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

// Keep sends heartbeats until ctx ends. kafka-go stops its own when a generation ends, and the broker would evict a member
// that drains for longer than the session timeout.
//
// Keep fences the session if the coordinator does not know the member, or has not answered for so long that it may have
// assigned the partitions to others.
func (s *Session) Keep(ctx context.Context) {
	// The library does not report when its last heartbeat was answered. It was at most this long ago.
	s.Answered(time.Now().Add(-s.unknown))
	for {
		sent := time.Now()
		err := s.beat(ctx, s.interval)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			s.Answered(sent)
			s.Cluster.Health.Works(ctx, "heartbeat")
		case Gone(err):
			s.Fence(ctx, err)
			return
		default:
			s.Cluster.Health.Fails(ctx, "heartbeat", fmt.Errorf("group %q: %w", s.Cluster.Group, err))
			// The next check is up to two intervals away, and must not come after the session.
			s.mu.Lock()
			silent := time.Since(s.answered)
			s.mu.Unlock()
			if timeout := s.Cluster.SessionTimeout; silent+2*s.interval > timeout {
				s.Fence(ctx, fmt.Errorf("no answer for almost the session timeout of %v: %w", timeout, err))
				return
			}
		}
		if !cluster.Sleep(ctx, s.interval) {
			return
		}
	}
}

// Gone reports whether the broker answered that this is no member of the generation.
func Gone(err error) bool {
	return errors.Is(err, kafkago.UnknownMemberId) || errors.Is(err, kafkago.IllegalGeneration) ||
		errors.Is(err, kafkago.FencedInstanceID)
}

// heartbeatRequest is kafka-go's request, routed to the coordinator. The library routes its own to any broker, which answers
// in a cluster of several that it is not the coordinator.
type heartbeatRequest heartbeat.Request

// ApiKey implements [protocol.Message].
//
//nolint:revive // the name is the library's
func (r *heartbeatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// Group implements [protocol.GroupMessage]. The library looks up the coordinator for each request.
func (r *heartbeatRequest) Group() string { return r.GroupID }

// beat sends one heartbeat. The answer that a rebalance is under way is no error: it is why the partitions drain, and it
// extends the session as any answer does.
func (s *Session) beat(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := s.Cluster.RoundTrip(ctx, &heartbeatRequest{GroupID: s.Cluster.Group, GenerationID: s.ID, MemberID: s.Member})
	if err != nil {
		return err
	}
	r, ok := resp.(*heartbeat.Response)
	if !ok {
		return fmt.Errorf("unexpected response to a heartbeat: %T", resp)
	}
	err = heartbeatError(r)
	if errors.Is(err, kafkago.RebalanceInProgress) {
		return nil
	}
	return err
}

// heartbeatError returns the error of a heartbeat. kafka-go's codec reads error code and throttle time in the wrong order:
// error 27 arrives as a throttle time of 27 ms, and the real throttle time in the upper 16 bits.
func heartbeatError(resp *heartbeat.Response) error {
	if code := kafkago.Error(int16(resp.ThrottleTimeMs)); code != 0 {
		return code
	}
	if resp.ThrottleTimeMs == 0 && resp.ErrorCode != 0 {
		return kafkago.Error(resp.ErrorCode) // version 0, which has no throttle time
	}
	return nil
}
