// Package group is the membership of a source in a Kafka consumer group, over kafka-go's classic protocol. It adds what
// the library lacks: heartbeats while partitions drain, leaving during a join, and strategies that know what members own.
package group

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
)

// Config has the settings of a member. Every field is required.
type Config struct {
	Cluster           *cluster.Client
	Name              string // client id of the group's connections, unique to the member
	HeartbeatInterval time.Duration
	RebalanceTimeout  time.Duration
	Strategy          assign.Strategy
	// Claims returns the partitions that the member owned last. The library calls it at every join.
	Claims func() assign.Claims
	// Find returns the partitions of topics for which kafka-go found none.
	Find func(ctx context.Context, topics []string) []assign.Partition
	// Refused reports a plan of Strategy that breaks the rules.
	Refused func(error)
}

// Timeout bounds a request of kafka-go's group to the coordinator.
func (c *Config) Timeout() time.Duration {
	return min(cluster.DialTimeout, c.Cluster.SessionTimeout/3)
}

// Group is one membership, bound to a set of topics. It is for one goroutine.
//
// Owns: the goroutines of kafka-go's group, until Leave returns.
type Group struct {
	cfg     Config
	library *kafkago.ConsumerGroup
	cut     context.CancelFunc // closes the library's connections, also later ones
}

// connection is one of kafka-go's group. The library's calls take no ctx; closing the connection is the only way to end one.
type connection struct {
	net.Conn
	forget func() bool
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.forget()
	return c.Conn.Close()
}

// Join starts to join the group.
func Join(ctx context.Context, topics []string, cfg Config) (*Group, error) {
	open, cut := context.WithCancel(context.WithoutCancel(ctx))
	dialer := new(*cfg.Cluster.Dialer)
	dialer.ClientID = cfg.Name
	dialer.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := cfg.Cluster.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &connection{Conn: conn, forget: context.AfterFunc(open, func() { _ = conn.Close() })}, nil
	}
	library, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                cfg.Cluster.Group,
		Brokers:           cfg.Cluster.Brokers,
		Dialer:            dialer,
		Topics:            topics,
		GroupBalancers:    balancers(ctx, cfg),
		HeartbeatInterval: cfg.HeartbeatInterval,
		SessionTimeout:    cfg.Cluster.SessionTimeout,
		RebalanceTimeout:  cfg.RebalanceTimeout,
		JoinGroupBackoff:  cfg.Cluster.Backoff,
		Timeout:           cfg.Timeout(),
		Logger: kafkago.LoggerFunc(func(format string, args ...any) {
			cfg.Cluster.Log.LogAttrs(ctx, slog.LevelDebug, "kafka-go", slog.String("says", fmt.Sprintf(format, args...)))
		}),
	})
	return &Group{cfg: cfg, library: library, cut: cut}, err
}

// Next blocks until the next generation, an error, or the end of ctx. The library delivers both without a buffer: a
// goroutine must always wait in Next.
func (g *Group) Next(ctx context.Context) (*kafkago.Generation, error) { return g.library.Next(ctx) }

const leavePatience = 2 * time.Second

// Leave leaves the group. It first blocks until released is closed; nil means that nothing is owned.
//
// The library cannot leave during a join, which lasts as long as other members drain. After leavePatience Leave sends the
// request itself, and the join ends. If that fails it closes the library's connections; the broker then keeps the member,
// with partitions that nobody reads, until its session times out.
func (g *Group) Leave(ctx context.Context, released <-chan struct{}) {
	left := make(chan struct{})
	go func() {
		_ = g.library.Close() // it always returns nil
		close(left)
	}()
	if released != nil {
		<-released
	}
	patience := time.NewTimer(leavePatience)
	defer patience.Stop()
	for _, act := range []func(){func() { g.sendLeave(ctx) }, g.cut} {
		select {
		case <-left:
			return
		case <-patience.C:
			act()
			patience.Reset(leavePatience)
		}
	}
	<-left
}

// sendLeave removes the member by its name: during its first join only the broker knows its id.
func (g *Group) sendLeave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*leavePatience)
	defer cancel()
	members, err := g.cfg.Cluster.Members(ctx)
	var ours []kafkago.LeaveGroupRequestMember
	for _, m := range members {
		if m.ClientID == g.cfg.Name {
			ours = append(ours, kafkago.LeaveGroupRequestMember{ID: m.MemberID})
		}
	}
	if len(ours) > 0 { // else the library has left meanwhile
		err = g.cfg.Cluster.Leave(ctx, ours)
	}
	if err != nil {
		g.cfg.Cluster.Log.LogAttrs(ctx, slog.LevelWarn, "kafka: leave group failed; member stays until the session times out",
			slog.String("group", g.cfg.Cluster.Group), slog.Any("error", err))
	}
}
