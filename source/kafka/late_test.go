// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka"
)

// I7: the coordinator evicts a member that has not joined a rebalance within the rebalance timeout, which may be shorter than
// the session, and may have begun long before the member hears of it.
func TestMemberLosesItsPartitionsBeforeARebalanceThatItCannotHearOfEnds(t *testing.T) {
	for _, c := range []struct {
		name               string
		session, rebalance time.Duration
		silent             time.Duration // heartbeats have no answer
	}{
		{"heard of late", 30 * time.Second, 20 * time.Second, 9 * time.Second},
		{"heard of later", 60 * time.Second, 40 * time.Second, 25 * time.Second},
		{"heard of never", 30 * time.Second, 20 * time.Second, time.Hour},
		{"shortest", 30 * time.Second, 9 * time.Second, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				timeouts := func(cfg *kafka.Config) { cfg.SessionTimeout, cfg.RebalanceTimeout = c.session, c.rebalance }
				a, b := w.source("g", timeouts), w.source("g", timeouts)
				ps := w.accept(a, 1)
				h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
				time.AfterFunc(c.silent, h.Remove)
				lost := make(chan time.Time, 1)
				go func() {
					for l := range ps[0].Leaving() {
						if l.Lost {
							lost <- time.Now()
							return
						}
					}
				}()
				time.Sleep(time.Second)
				got := w.join(b, 1)
				taken := time.Now().Add(c.rebalance) // b joined at once
				at := <-lost
				h.Remove()
				if left := taken.Sub(at); left <= 0 {
					t.Errorf("lost %v after the coordinator may have assigned the partition to the other member", -left)
				}
				w.release(ps[0])
				w.close(a, nil)
				w.close(b, <-got)
			})
		})
	}
}
