package group_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
)

// world is a cluster with topic "t" on a network in memory, inside a bubble.
type world struct {
	*kfake.Cluster
	t       *testing.T
	cluster *cluster.Client
	told    *told
}

const (
	partitions = 4
	session    = 10 * time.Second
	heartbeat  = 2 * time.Second
	rebalance  = 30 * time.Second
)

func inWorld(t *testing.T, f func(w *world), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := &kfake.VirtualNetwork{}
		opts = append([]kfake.Opt{
			kfake.NumBrokers(1), kfake.SeedTopics(partitions, "t"), kfake.ListenFn(net.Listen), kfake.Ports(9092),
		}, opts...)
		c, err := kfake.NewCluster(opts...)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{Cluster: c, t: t, told: &told{}}
		w.cluster = cluster.New(cluster.Config{
			Brokers: c.ListenAddrs(), Group: "g", Topics: []string{"t"}, ClientID: "test", SessionTimeout: session,
			Backoff: 100 * time.Millisecond, Dial: net.DialContext, Log: slog.New(slog.NewTextHandler(w.told, nil)),
		})
		t.Cleanup(func() {
			w.cluster.Transport.CloseIdleConnections()
			c.Close()
			time.Sleep(time.Minute) // idle connections
		})
		f(w)
	})
}

type told struct {
	mu   sync.Mutex
	text strings.Builder
	part string
	call func()
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.text.Write(b)
	call := l.call
	if call != nil && strings.Contains(string(b), l.part) {
		l.call = nil
	} else {
		call = nil
	}
	l.mu.Unlock()
	if call != nil {
		call()
	}
	return len(b), nil
}

// on calls f at the next line with part, and delays the writer.
func (l *told) on(part string, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part, l.call = part, f
}

func (l *told) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), part)
}

// member is a member that holds its partitions until it is told to join again.
type member struct {
	*group.Group
	w       *world
	claims  assign.Claims
	refused error
}

func (w *world) member(name string, change ...func(*group.Config)) *member {
	m := &member{w: w}
	cfg := group.Config{
		Cluster: w.cluster, Name: name, HeartbeatInterval: heartbeat, RebalanceTimeout: rebalance, Strategy: assign.Sticky(),
		Claims: func() assign.Claims { return m.claims },
		Find: func(context.Context, []string) (ps []assign.Partition) {
			for n := range int32(partitions) {
				ps = append(ps, assign.Partition{Topic: "t", Number: n})
			}
			return ps
		},
		Refused: func(err error) { m.refused = err },
	}
	for _, c := range change {
		c(&cfg)
	}
	m.Group = group.New(cfg)
	w.t.Cleanup(func() { m.Leave(context.WithoutCancel(w.t.Context())) }) // of a test without Leave
	return m
}

// join joins and sends heartbeats until stop is called.
func (m *member) join() (s *group.Session, stop func()) {
	m.w.t.Helper()
	ctx, cancel := context.WithTimeout(m.w.t.Context(), 5*time.Minute)
	defer cancel()
	s, err := m.Join(ctx)
	if err != nil {
		m.w.t.Fatalf("Join = %v", err)
	}
	m.claims = assign.Claims{Generation: s.ID, Owned: s.Assigned}
	keeping, end := context.WithCancel(m.w.t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Keep(keeping) })
	return s, func() {
		end()
		running.Wait()
	}
}

// over reports whether a channel is closed.
func over(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}
