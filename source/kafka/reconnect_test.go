// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka"
)

// expiring is a connection whose SASL session expires: a broker closes it at the first request after that.
type expiring struct {
	net.Conn
	until time.Time
}

func (c *expiring) Write(b []byte) (int, error) {
	if time.Now().After(c.until) {
		_ = c.Conn.Close()
		return len(b), nil // the request was sent; its answer is the end of the connection
	}
	return c.Conn.Write(b)
}

// The membership does not depend on a connection. Before, each of these cost a rebalance of the whole group.
func TestMembershipSurvivesReconnects(t *testing.T) {
	const lifetime = 10 * time.Second
	for _, c := range []struct {
		name  string
		quiet bool // the log has no trouble
		do    func(w *world, line *cable)
	}{
		{"sessions expire", true, func(*world, *cable) {}},
		{"the network is cut for half a session", false, func(_ *world, line *cable) {
			line.cut()
			time.Sleep(15 * time.Second)
			line.mend()
		}},
		{"the coordinator loads the group", false, func(w *world, _ *cable) {
			h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit, kmsg.FindCoordinator}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
			time.Sleep(15 * time.Second)
			h.Remove()
		}},
		{"the coordinator is not available", false, func(w *world, _ *cable) {
			h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable, Count: -1})
			time.Sleep(15 * time.Second)
			h.Remove()
		}},
		{"an answer is lost", true, func(w *world, _ *cable) {
			w.cluster.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, net.ErrClosed, true // closes the connection
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				t := w.t
				line := &cable{dial: w.dial}
				s := w.source("g", func(cfg *kafka.Config) {
					cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := line.connect(ctx, network, address)
						return &expiring{conn, time.Now().Add(lifetime)}, err
					}
				})
				ps := w.accept(s, 2)
				member, generation := s.Report().Member, s.Generation()
				time.Sleep(lifetime / 2)
				c.do(w, line)
				for range 60 {
					time.Sleep(time.Second)
					for _, p := range ps {
						w.commit(p, 0)
					}
				}
				for n, p := range ps {
					select {
					case l := <-p.Leaving():
						t.Errorf("partition %d: leave = %+v, want none", n, l)
					default:
					}
				}
				if r := s.Report(); r.Member != member || s.Generation() != generation || len(r.Trouble) > 0 {
					t.Errorf("member %s in generation %d became %s in %d; trouble %v", member, generation, r.Member, s.Generation(), r.Trouble)
				}
				if n := w.told.times("level=WARN"); c.quiet && n > 0 {
					t.Errorf("the log has %d warnings, want none", n)
				}
				w.close(s, ps)
			})
		})
	}
}
