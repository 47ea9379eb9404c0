// Virtual time: every test here makes a bubble, by the harness.

package group_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source/kafka/internal/group"
)

func TestHeartbeatsKeepTheMembership(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		s, stop := w.member("a").join()
		defer stop()
		beats := w.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
		time.Sleep(5 * time.Minute)
		if over(s.Ending()) || len(w.GroupInfo("g").Members) != 1 {
			t.Errorf("the session ended: %q", s.Cause())
		}
		if n, want := beats.Hits(), int(5*time.Minute/heartbeat); n < want-2 || n > want+2 {
			t.Errorf("%d heartbeats in 5 minutes, want %d", n, want)
		}
	})
}

func TestLostMembershipIsFencedAtTheNextHeartbeat(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.FencedInstanceID} {
		t.Run(err.Message, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				m := w.member("a")
				s, stop := m.join()
				w.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: err, Count: 1})
				w.told.on("membership lost", func() { time.Sleep(time.Minute) }) // a log that blocks
				began := time.Now()
				<-s.Fenced()
				if d := time.Since(began); d > heartbeat+time.Second || s.Cause() != group.Fenced {
					t.Errorf("fenced after %v with cause %q", d, s.Cause())
				}
				stop()
				again, stop := m.join()
				defer stop()
				if again.ID <= s.ID {
					t.Errorf("generation %d after %d", again.ID, s.ID)
				}
			})
		})
	}
}

func TestHeartbeatWithoutAnAnswerNamesItsTimeout(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		_, stop := w.member("a").join()
		defer stop()
		w.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.SleepControl(func() { time.Sleep(3 * heartbeat / 2) })
			return nil, nil, false
		})
		time.Sleep(3 * heartbeat)
		if !w.told.has("no response within 2s") {
			t.Errorf("the log does not have the timeout of %v", heartbeat)
		}
	})
}

// A rebalance may begin while an answer is on its way: its time counts from the request on.
func TestRebalanceTimeoutCountsFromTheRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		var at time.Time // when the last request arrived; of the cluster's goroutine until the end of SleepControl
		slow := func(kmsg.Request) (kmsg.Response, error, bool) {
			at = time.Now()
			w.SleepControl(func() { time.Sleep(heartbeat / 2) })
			return nil, nil, false
		}
		m := w.member("a")
		w.ControlKey(int16(kmsg.SyncGroup), slow)
		s, err := m.Join(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := s.RejoinBy().Sub(at); d != rebalance {
			t.Errorf("after SyncGroup: %v after the request, want %v", d, rebalance)
		}
		w.ControlKey(int16(kmsg.Heartbeat), slow)
		ctx, cancel := context.WithTimeout(t.Context(), heartbeat)
		defer cancel()
		s.Keep(ctx)
		if d := s.RejoinBy().Sub(at); d != rebalance {
			t.Errorf("after a heartbeat: %v after the request, want %v", d, rebalance)
		}
	})
}

// Faults of the coordinator that are shorter than the session cost nothing. Longer ones end the session before others may own
// the partitions, and first let them drain.
func TestSilentCoordinator(t *testing.T) {
	refuse := func(err *kerr.Error, keys ...kmsg.Key) func(w *world, d time.Duration) {
		return func(w *world, d time.Duration) {
			h := w.Fault(kfake.Fault{Keys: append(keys, kmsg.Heartbeat), Err: err, Count: -1})
			time.Sleep(d)
			h.Remove()
		}
	}
	for _, c := range []struct {
		name  string
		fault func(w *world, d time.Duration)
	}{
		{"it moves", refuse(kerr.NotCoordinator)},
		{"it is not available", refuse(kerr.CoordinatorNotAvailable, kmsg.FindCoordinator)},
		{"it loads the group", refuse(kerr.CoordinatorLoadInProgress)},
		{"unknown error", refuse(kerr.UnknownServerError)},
		{"it closes connections", func(w *world, d time.Duration) {
			until := time.Now().Add(d)
			w.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
				if time.Now().After(until) {
					return nil, nil, false
				}
				w.KeepControl()
				return nil, net.ErrClosed, true
			})
			time.Sleep(d)
		}},
	} {
		t.Run(c.name+" for a while", func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				s, stop := w.member("a").join()
				defer stop()
				c.fault(w, 4*time.Second)
				time.Sleep(time.Minute)
				if over(s.Ending()) {
					t.Errorf("the session ended: %q", s.Cause())
				}
				if trouble := w.cluster.Health.All(); len(trouble) > 0 {
					t.Errorf("trouble = %v after the recovery", trouble)
				}
			})
		})
		t.Run(c.name+" for good", func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				s, stop := w.member("a").join()
				defer stop()
				began := time.Now()
				go c.fault(w, time.Hour)
				<-s.Ending()
				if s.Cause() != group.Silence || over(s.Fenced()) {
					t.Errorf("cause = %q, fenced %v, want time to drain", s.Cause(), over(s.Fenced()))
				}
				<-s.Fenced()
				if d := time.Since(began); d < session/2 || d > session-heartbeat/2 {
					t.Errorf("fenced after %v, the session is %v", d, session)
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// A process that was paused must not go on with partitions that others may own until the coordinator answers, or does not.
func TestSessionThatEndedInAPauseIsFencedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		s, stop := w.member("a").join()
		defer stop()
		h := w.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.NotCoordinator, Count: 1})
		paused := make(chan time.Time, 1)
		w.told.on("operation recovered", func() {
			w.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.NotCoordinator, Count: -1})
			time.Sleep(session)
			paused <- time.Now()
		})
		<-s.Fenced()
		if d := time.Since(<-paused); d != 0 {
			t.Errorf("fenced %v after the pause", d)
		}
		h.Remove()
	})
}
