// Package group is the membership of a source in a Kafka consumer group, over the classic protocol. A membership does not
// depend on a connection: it survives a restart of the coordinator, a move to another broker, and an expired SASL session.
// Members drain before they join again, with heartbeats meanwhile. Strategies know what members owned.
package group

import (
	"context"
	"errors"
	"log/slog"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Config has the settings of a member. Every field is required.
type Config struct {
	Cluster           *cluster.Client
	Name              string // client id of the group's requests, unique to the member
	HeartbeatInterval time.Duration
	RebalanceTimeout  time.Duration
	Strategy          assign.Strategy
	// Claims returns the partitions that the member owned last. It is called at every join.
	Claims func() assign.Claims
	// Find returns the partitions of topics. It is called in the leader of the group, which waits for it.
	Find func(ctx context.Context, topics []string) []assign.Partition
	// Refused reports a plan of Strategy that breaks the rules.
	Refused func(error)
}

// Timeout bounds a request to the coordinator that the coordinator answers at once.
func (c *Config) Timeout() time.Duration {
	return min(cluster.DialTimeout, c.Cluster.SessionTimeout/3)
}

// Group is one membership. It is for one goroutine.
//
// Owns: connections of its own, until Leave. A broker that throttles fetches holds back all requests on their connections, which
// must not delay a heartbeat.
type Group struct {
	cfg         Config
	coordinator *coordinator
	member      string // id; empty: the coordinator does not know this member
}

// New returns a membership that begins with the first Join.
func New(cfg Config) *Group {
	return &Group{cfg: cfg, coordinator: &coordinator{
		group: cfg.Cluster.Group,
		client: wire.Client{
			Brokers:        cfg.Cluster.Brokers,
			Bootstrap:      cfg.Cluster.Net.Bootstrap(),
			Transport:      cfg.Cluster.NewTransport(cfg.Name),
			RequestTimeout: cfg.Timeout(),
		},
	}}
}

// Join joins the group, or joins it again with the same member id. It blocks until all members have joined: at most for the
// rebalance timeout of the group, which is how long the others may drain.
func (g *Group) Join(ctx context.Context) (*Session, error) {
	for n := 1; ; n++ {
		s, err := g.round(ctx)
		switch {
		case err == nil:
			return s, nil
		case errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.FencedInstanceID):
			g.member = ""
			if !cluster.Sleep(ctx, g.cfg.Cluster.Backoff) { // leave the others a moment with what they got
				return nil, context.Cause(ctx)
			}
		case errors.Is(err, kafkago.RebalanceInProgress), errors.Is(err, kafkago.IllegalGeneration),
			errors.Is(err, kafkago.MemberIDRequired):
		default:
			return nil, err
		}
		if n%3 == 0 && !cluster.Sleep(ctx, g.cfg.Cluster.Backoff) {
			return nil, context.Cause(ctx)
		}
	}
}

// round is one JoinGroup and one SyncGroup.
func (g *Group) round(ctx context.Context) (*Session, error) {
	j, err := g.join(ctx)
	if err != nil {
		return nil, err
	}
	var plan assign.Plan
	if j.leader {
		if plan, err = g.plan(ctx, j); err != nil {
			return nil, err
		}
	}
	sent := time.Now()
	assigned, err := g.sync(ctx, j, plan)
	if err != nil {
		return nil, err
	}
	return newSession(&g.cfg, g.coordinator, j, assigned, sent), nil
}

const (
	// leaveTimeout bounds Leave. The coordinator removes a member that has not left when its session times out.
	leaveTimeout = 2 * time.Second
	// silentTimeout replaces leaveTimeout while a broker does not answer.
	silentTimeout = 250 * time.Millisecond
	// leavePause is the time between two attempts to leave while the coordinator moves.
	leavePause = 50 * time.Millisecond
)

// Leave leaves the group and closes its connections. It blocks for at most leaveTimeout.
func (g *Group) Leave(ctx context.Context) {
	defer g.coordinator.client.Transport.CloseIdleConnections()
	if g.member == "" {
		return
	}
	timeout := leaveTimeout
	if len(g.cfg.Cluster.Net.Waits()) > 0 {
		timeout = silentTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var w wire.Writer
	w.Text(g.cfg.Cluster.Group)
	w.Text(g.member)
	_, err := g.coordinator.do(ctx, keyLeaveGroup, version, w.B, 0)
	for cluster.Moving(err) && cluster.Sleep(ctx, leavePause) {
		_, err = g.coordinator.do(ctx, keyLeaveGroup, version, w.B, 0)
	}
	log := g.cfg.Cluster.Log
	if err != nil && !errors.Is(err, kafkago.UnknownMemberId) {
		log.LogAttrs(ctx, slog.LevelWarn, "kafka: leave group failed; the group waits for the member until its session times out",
			slog.String("group", g.cfg.Cluster.Group), slog.Duration("session_timeout", g.cfg.Cluster.SessionTimeout), slog.Any("error", err))
		return
	}
	log.LogAttrs(ctx, slog.LevelInfo, "kafka: left group", slog.String("group", g.cfg.Cluster.Group), slog.String("member", g.member))
	g.member = ""
}
