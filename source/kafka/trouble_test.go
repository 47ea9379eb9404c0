package kafka_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/kafka/assign"
)

func TestPassingErrorsAreRetriedAndLogged(t *testing.T) {
	for _, c := range []struct {
		err         *kerr.Error
		key         kmsg.Key
		what, cause string // in the log
	}{
		{kerr.CoordinatorNotAvailable, kmsg.FindCoordinator, "join", "Group Coordinator Not Available"},
		{kerr.NotCoordinator, kmsg.JoinGroup, "join", "Not Coordinator For Group"},
		{kerr.CoordinatorLoadInProgress, kmsg.JoinGroup, "join", "Group Load In Progress"},
		{kerr.GroupMaxSizeReached, kmsg.JoinGroup, "join", "group.max.size"},
		{kerr.UnknownServerError, kmsg.SyncGroup, "join", "an unexpected server error occurred"},
		{kerr.CoordinatorLoadInProgress, kmsg.OffsetFetch, `"read committed progress"`, "Group Load In Progress"},
		{kerr.NotCoordinator, kmsg.OffsetCommit, "commit", "Not Coordinator For Group"},
	} {
		t.Run(c.err.Message+" of "+c.key.Name(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: -1, TopLevel: c.key == kmsg.OffsetFetch})
				s := w.source("g")
				got := w.join(s, 1)
				time.Sleep(20 * time.Second)
				if r := s.Report(); len(r.Trouble) == 0 || r.Trouble[0].Err == nil || r.Trouble[0].Since.IsZero() {
					t.Errorf("while it fails, the report is %+v", r)
				}
				if n := w.told.times("level=WARN", "operation failed; retrying", "what="+c.what, `group \"g\"`, c.cause); n != 1 {
					t.Errorf("the log has %d lines that %s fails and why, want one for all attempts", n, c.what)
				}
				if n := w.told.times("operation recovered"); n != 0 {
					t.Errorf("the log has %d recoveries, and nothing has recovered", n)
				}
				h.Remove()
				ps := <-got
				synctest.Wait()
				if n := w.told.times("operation recovered", "what="+c.what); n != 1 {
					t.Errorf("the log has %d recoveries of %s, want one", n, c.what)
				}
				if n := w.told.times("operation failed; retrying"); n != 1 {
					t.Errorf("the log has %d failures, want one", n)
				}
				if r := s.Report(); len(r.Trouble) != 0 || !r.Ready || r.State != "member" || r.Member == "" || len(s.Held()) != 1 {
					t.Errorf("after the recovery it holds %v and the report is %+v", s.Held(), r)
				}
				w.close(s, ps)
			})
		})
	}
}

// A new cluster makes its topic of offsets when the first group asks for its coordinator.
func TestCoordinatorOfANewClusterIsAwaitedWithoutAWarning(t *testing.T) {
	for _, c := range []struct {
		err   *kerr.Error
		key   kmsg.Key
		after time.Duration
		warns int
	}{
		{kerr.CoordinatorNotAvailable, kmsg.FindCoordinator, 0, 0},
		{kerr.CoordinatorNotAvailable, kmsg.FindCoordinator, 7 * time.Second, 0},
		{kerr.CoordinatorNotAvailable, kmsg.FindCoordinator, 15 * time.Second, 1},
		{kerr.CoordinatorLoadInProgress, kmsg.JoinGroup, 7 * time.Second, 0},
		{kerr.NotCoordinator, kmsg.JoinGroup, 7 * time.Second, 0},
		{kerr.CoordinatorLoadInProgress, kmsg.DescribeGroups, 7 * time.Second, 0},
		{kerr.NotCoordinator, kmsg.DescribeGroups, 7 * time.Second, 0},
		{kerr.NotCoordinator, kmsg.DescribeGroups, 15 * time.Second, 1},
		{kerr.UnknownServerError, kmsg.JoinGroup, 7 * time.Second, 1},
	} {
		t.Run(fmt.Sprintf("%s for %v", c.err.Message, c.after), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: -1})
				s := w.source("g", func(cfg *kafka.Config) {
					if c.key == kmsg.DescribeGroups {
						cfg.Start = kafka.Earliest() // looks whether the group has members
					}
				})
				got := w.join(s, 1)
				time.Sleep(2 * time.Second)
				if n := w.told.times("what=", "error="); n != 1 {
					w.t.Errorf("%d lines after 2 s, want 1", n)
				}
				if r := s.Report(); len(r.Trouble) != 1 {
					w.t.Errorf("the report is %+v", r)
				}
				time.Sleep(c.after)
				h.Remove()
				ps := <-got
				if n := w.told.times("level=WARN"); n != c.warns {
					w.t.Errorf("%d warnings, want %d", n, c.warns)
				}
				if n := w.told.times("level=WARN", "offsets.topic.replication.factor"); c.key == kmsg.FindCoordinator && n != c.warns {
					w.t.Errorf("%d warnings with the cause, want %d", n, c.warns)
				}
				w.close(s, ps)
			})
		})
	}
}

// The trouble of a member with a partition ends when another member gets the partition.
func TestTroubleGoesWithThePartition(t *testing.T) {
	for key, what := range map[kmsg.Key]string{kmsg.OffsetFetch: "read committed progress", kmsg.OffsetCommit: "commit"} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.CoordinatorLoadInProgress, Count: -1, TopLevel: key == kmsg.OffsetFetch})
				toTheNewcomer := func(c *kafka.Config) {
					c.Strategy = ownStrategy{func(ms []assign.Member, ps []assign.Partition) assign.Plan {
						newest := slices.MinFunc(ms, func(a, b assign.Member) int { return len(a.Claims.Owned) - len(b.Claims.Owned) })
						return assign.Plan{newest.ID: ps}
					}}
				}
				a, b := w.source("g", toTheNewcomer), w.source("g", toTheNewcomer)
				for _, s := range []*kafka.Source{a, b} {
					go func() { _, _ = s.Accept(t.Context()) }() // waits until Close
					time.Sleep(30 * time.Second)
					if all := s.Report().Trouble; len(all) != 1 || all[0].What != what {
						t.Errorf("the owner's trouble is %v, want %q", all, what)
					}
				}
				if all := a.Report().Trouble; len(all) != 0 {
					t.Errorf("the trouble of a member without partitions is %v", all)
				}
				w.close(a, nil)
				w.close(b, nil)
			})
		})
	}
}

// The coordinator moves, and for a while the brokers name the old one. The log has the failure and the recovery. The member
// keeps its id, its generation and its partitions.
func TestMovedCoordinatorIsFollowed(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 2)
		member, generation := s.Report().Member, s.Generation()
		for i := 1; i <= 3; i++ {
			old, now := w.moveCoordinator("g", 20*time.Second)
			reached := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Nodes: []int32{now}, Observe: true, Count: -1})
			began := time.Now()
			for n, p := range ps {
				w.commit(p, p.Restored().Frontier)
				select {
				case l := <-p.Leaving():
					t.Errorf("partition %d: leave = %+v, want none: the membership survives the move", n, l)
				default:
				}
			}
			if d := time.Since(began); d < 20*time.Second {
				t.Errorf("a commit was stored after %v by a broker that is not the coordinator", d)
			}
			if reached.Hits() == 0 {
				t.Errorf("the coordinator moved from %d to %d, which got no commit", old, now)
			}
			time.Sleep(5 * time.Second) // until the next heartbeat
			for _, what := range []string{"commit", "heartbeat"} {
				fails := w.told.times("level=WARN", "operation failed; retrying", "what="+what, `group \"g\"`, "Not Coordinator For Group")
				works := w.told.times("operation recovered", "what="+what)
				if fails != i || works != i {
					t.Errorf("after %d moves the log has %d failures of %s and %d recoveries", i, fails, what, works)
				}
			}
			if r := s.Report(); len(r.Trouble) != 0 || r.State != "member" || r.Member != member || s.Generation() != generation {
				t.Errorf("report = %+v, want the member %s in generation %d without trouble", r, member, generation)
			}
			reached.Remove()
		}
		w.close(s, ps)
	}, kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094))
}

// moveCoordinator moves a group to another coordinator. For a while the brokers still name the old one.
func (w *world) moveCoordinator(group string, unheard time.Duration) (old, now int32) {
	w.t.Helper()
	old = w.cluster.CoordinatorFor(group)
	for now = old; now == old; now = w.cluster.CoordinatorFor(group) {
		w.cluster.RehashCoordinators()
	}
	host, port, err := net.SplitHostPort(w.brokers[old])
	if err != nil {
		w.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		w.t.Fatal(err)
	}
	heard := time.Now().Add(unheard)
	w.cluster.ControlKey(int16(kmsg.FindCoordinator), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if !time.Now().Before(heard) {
			return nil, nil, false
		}
		w.cluster.KeepControl()
		resp := kmsg.NewPtrFindCoordinatorResponse()
		resp.SetVersion(r.GetVersion())
		resp.NodeID, resp.Host, resp.Port = old, host, int32(number)
		return resp, nil, true
	})
	return old, now
}
