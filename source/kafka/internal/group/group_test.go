// Virtual time: every test here makes a bubble, by the harness.

package group_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/group"
)

func TestFirstMemberOwnsAllPartitions(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		m := w.member("a")
		s, stop := m.join()
		defer stop()
		if len(s.Assigned) != partitions || !s.Alone || s.ID != 1 {
			t.Errorf("session = %+v, want the only member of generation 1 with all partitions", s)
		}
		members, err := w.cluster.Members(t.Context())
		if err != nil || len(members) != 1 || members[0].ClientID != "a" || members[0].MemberID != s.Member {
			t.Errorf("members = %+v, %v, want one with client id a", members, err)
		}
	})
}

func TestSecondMemberWaitsUntilTheFirstHasDrained(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		a, b := w.member("a"), w.member("b")
		first, stop := a.join()
		var second *group.Session
		var stopSecond func()
		var joining sync.WaitGroup
		joining.Go(func() { second, stopSecond = b.join() })
		<-first.Ending()
		if first.Cause() != group.Rebalance || over(first.Fenced()) {
			t.Errorf("cause = %q, fenced %v", first.Cause(), over(first.Fenced()))
		}
		time.Sleep(2 * session) // draining, with heartbeats
		if second != nil || over(first.Fenced()) {
			t.Fatalf("second = %+v, first fenced %v, while the first drains", second, over(first.Fenced()))
		}
		stop()
		again, stop := a.join()
		joining.Wait()
		if again.Member != first.Member || again.ID != second.ID || again.ID <= first.ID {
			t.Errorf("%s in generation %d, then %s in %d; the other is in %d", first.Member, first.ID, again.Member, again.ID, second.ID)
		}
		if len(again.Assigned) != partitions/2 || len(second.Assigned) != partitions/2 {
			t.Errorf("assigned %v and %v, want half each", again.Assigned, second.Assigned)
		}
		stop()
		stopSecond()
	})
}

func TestLeaveRemovesTheMemberAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		a, b := w.member("a"), w.member("b")
		_, stop := a.join()
		stop()
		a.Leave(t.Context())
		began := time.Now()
		s, stop := b.join()
		defer stop()
		if d := time.Since(began); d > time.Second || len(s.Assigned) != partitions {
			t.Errorf("joined after %v with %v, want all partitions at once", d, s.Assigned)
		}
		if !w.told.has("left group") {
			t.Error("the log does not have the leave")
		}
	})
}

// During a restart of brokers, another coordinator is found, or the same one is soon ready.
func TestLeaveIsRepeatedWhileTheCoordinatorMoves(t *testing.T) {
	for _, c := range []struct {
		key kmsg.Key
		err *kerr.Error
	}{
		{kmsg.LeaveGroup, kerr.NotCoordinator},
		{kmsg.LeaveGroup, kerr.CoordinatorNotAvailable},
		{kmsg.LeaveGroup, kerr.CoordinatorLoadInProgress},
		{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable},
	} {
		t.Run(c.key.Name()+" "+c.err.Message, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				a := w.member("a")
				_, stop := a.join()
				stop()
				w.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.LeaveGroup}, Err: kerr.NotCoordinator, Count: 1})
				w.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: 2})
				began := time.Now()
				a.Leave(t.Context())
				if d, n := time.Since(began), len(w.GroupInfo("g").Members); n != 0 || d > time.Second {
					t.Errorf("%d members after Leave of %v, want none", n, d)
				}
			})
		})
	}
}

func TestLeaveIsBoundedWhileTheCoordinatorIsSilent(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		a := w.member("a")
		_, stop := a.join()
		stop()
		w.ControlKey(int16(kmsg.LeaveGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.SleepControl(func() { time.Sleep(time.Minute) })
			return nil, nil, false
		})
		began := time.Now()
		a.Leave(t.Context())
		if d := time.Since(began); d > 3*time.Second || !w.told.has("leave group failed") {
			t.Errorf("Leave took %v; logged %v", d, w.told.has("leave group failed"))
		}
		time.Sleep(time.Minute)
	})
}

func TestJoinEndsWithItsContext(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		a, b := w.member("a"), w.member("b")
		_, stop := a.join()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if s, err := b.Join(ctx); err == nil || time.Since(began) != time.Second {
			t.Errorf("Join = %+v, %v after %v, want the end of ctx", s, err, time.Since(began))
		}
		b.Leave(t.Context())
		if n := len(w.GroupInfo("g").Members); n != 1 {
			t.Errorf("%d members, want 1: b would own partitions", n)
		}
		stop()
	})
}

// Errors of a join that are answered by joining again, or by an error.
func TestJoinErrors(t *testing.T) {
	for _, c := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		fail bool
	}{
		{kmsg.JoinGroup, kerr.UnknownMemberID, false},
		{kmsg.JoinGroup, kerr.FencedInstanceID, false},
		{kmsg.JoinGroup, kerr.RebalanceInProgress, false},
		{kmsg.SyncGroup, kerr.RebalanceInProgress, false},
		{kmsg.SyncGroup, kerr.UnknownMemberID, false},
		{kmsg.SyncGroup, kerr.IllegalGeneration, false},
		{kmsg.JoinGroup, kerr.NotCoordinator, true},
		{kmsg.JoinGroup, kerr.GroupMaxSizeReached, true},
		{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable, true},
		{kmsg.SyncGroup, kerr.GroupAuthorizationFailed, true},
	} {
		t.Run(c.key.Name()+" "+c.err.Message, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				m := w.member("a")
				w.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: 1})
				_, err := m.Join(t.Context())
				if failed := err != nil; failed != c.fail {
					t.Fatalf("Join = %v, want an error %v", err, c.fail)
				}
				s, stop := m.join() // the next one succeeds, with one member in the group
				defer stop()
				if n := len(w.GroupInfo("g").Members); n != 1 || len(s.Assigned) != partitions {
					t.Errorf("%d members, assigned %v", n, s.Assigned)
				}
			})
		})
	}
}

type badStrategy struct{ plan func() assign.Plan }

func (badStrategy) Name() string                                           { return "bad" }
func (b badStrategy) Plan([]assign.Member, []assign.Partition) assign.Plan { return b.plan() }

func TestBadPlanIsReportedAndReplaced(t *testing.T) {
	for name, plan := range map[string]func() assign.Plan{
		"panic":   func() assign.Plan { panic("x") },
		"unknown": func() assign.Plan { return assign.Plan{"nobody": {{Topic: "t"}}} },
		"nil":     func() assign.Plan { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				m := w.member("a", func(c *group.Config) { c.Strategy = badStrategy{plan} })
				s, stop := m.join()
				defer stop()
				if m.refused == nil || len(s.Assigned) != partitions {
					t.Errorf("refused = %v, assigned %v, want a reported plan and all partitions", m.refused, s.Assigned)
				}
			})
		})
	}
}
