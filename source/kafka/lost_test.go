// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestLostMembershipLosesItsPartitionsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		err  *kerr.Error
	}{{"unknown member", kerr.UnknownMemberID}, {"illegal generation", kerr.IllegalGeneration}, {"fenced instance", kerr.FencedInstanceID}} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				a := w.source("g")
				ps := w.accept(a, 1)
				began := time.Now()
				h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: c.err, Count: -1})
				for l := range ps[0].Leaving() {
					if l.Lost {
						break
					}
				}
				if d := time.Since(began); d > 4*time.Second {
					t.Errorf("lost after %v, want about one heartbeat interval", d)
				}
				if err := ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); !errors.Is(err, source.ErrLeaving) {
					t.Errorf("Fetch of a lost partition: %v", err)
				}
				h.Remove()
				w.release(ps[0])
				w.close(a, w.accept(a, 1))
			})
		})
	}
}

// Without an answer, another member may own the partitions after the session timeout.
func TestSilentCoordinatorLosesThePartitionsWithinTheSession(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g", func(c *kafka.Config) { c.SessionTimeout = 9 * time.Second })
		ps := w.accept(a, 1)
		began := time.Now()
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		if l := <-ps[0].Leaving(); l.Lost {
			t.Error("lost at the first error, want revoked")
		}
		if l := <-ps[0].Leaving(); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		if d := time.Since(began); d < 3*time.Second || d > 9*time.Second {
			t.Errorf("lost after %v, the session is 9s", d)
		}
		h.Remove()
		w.release(ps[0])
		w.close(a, w.accept(a, 1))
	})
}

// A commit without an answer proves no membership, even if a newer one has replaced it.
func TestCommitsWithoutAnAnswerKeepNoMembership(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g", func(c *kafka.Config) { c.SessionTimeout = 9 * time.Second })
		ps := w.accept(a, 1)
		var answers atomic.Bool
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			if answers.Load() {
				return nil, nil, false
			}
			w.cluster.KeepControl()
			w.cluster.SleepControl(func() { time.Sleep(time.Second) })
			return nil, errors.New("cut"), true // closes the connection
		})
		began := time.Now()
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		var committing sync.WaitGroup
		committing.Go(func() {
			for frontier := int64(1); ; frontier++ {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				_, err := ps[0].Commit(ctx, progress(ps[0], frontier))
				cancel()
				if errors.Is(err, commit.ErrFenced) {
					return
				}
			}
		})
		for l := range ps[0].Leaving() {
			if l.Lost {
				break
			}
		}
		if d := time.Since(began); d > 9*time.Second {
			t.Errorf("lost after %v, the session is 9s: another member may own the partition by then", d)
		}
		committing.Wait()
		h.Remove()
		answers.Store(true)
		w.release(ps[0])
		ps = w.accept(a, 1)
		time.Sleep(2 * time.Second) // the last request without an answer keeps its connection until that is cut
		w.close(a, ps)
	})
}

// A late answer proves the membership at the time of the request only.
func TestLateAnswerToACommitKeepsNoMembership(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		a := w.source("g", func(c *kafka.Config) { c.SessionTimeout = 9 * time.Second })
		ps := w.accept(a, 1)
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.SleepControl(func() { time.Sleep(4 * time.Second) })
			return nil, nil, false
		})
		began := time.Now()
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		w.commit(ps[0], 3)
		for l := range ps[0].Leaving() {
			if l.Lost {
				break
			}
		}
		if d := time.Since(began); d > 9*time.Second {
			t.Errorf("lost after %v, the session is 9s: another member may own the partition by then", d)
		}
		h.Remove()
		w.release(ps[0])
		w.close(a, w.accept(a, 1))
	})
}
