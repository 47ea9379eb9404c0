// Virtual time: every test that waits makes a bubble.

package ack

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/internal/health"
)

// Each attempt sends more messages than the one before; the cause stays the same.
func TestAckerLogsAFailureOnceAMinuteWhateverTheRequestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := errors.New("request timed out")
		var logged strings.Builder
		a := New(0, func(ids []pulsar.MessageID) error {
			failed := pulsar.AckError{}
			for _, id := range ids {
				failed[id] = slow
			}
			return failed
		}, health.New(slog.New(slog.NewTextHandler(&logged, nil)), "pulsar"), "acknowledge orders/0")
		singles(&a.pending, 0, 100)
		go a.Run(t.Context())
		for n := range int64(50) {
			a.Settle(&commit.Progress{Frontier: n + 1})
			time.Sleep(10 * time.Second)
		}
		a.Close()
		<-a.done
		if n := strings.Count(logged.String(), "operation failed; retrying"); n != 9 || !strings.Contains(logged.String(), slow.Error()) {
			t.Errorf("logged %d times in 500 s, want once a minute, with %q:\n%s", n, slow, logged.String())
		}
	})
}

// An ownership is young for a fixed time, however often it acknowledges.
func TestAckerSendsHeldEntriesAfterGrowsUpWhileOthersAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(map[int64]time.Time)
		a := New(0, func(ids []pulsar.MessageID) error {
			for _, id := range ids {
				sent[id.EntryID()] = time.Now()
			}
			return nil
		}, health.New(slog.New(slog.DiscardHandler), "pulsar"), "acknowledge orders/0")
		singles(&a.pending, 0, 100)
		go a.Run(t.Context())
		begin := time.Now()
		for n := range int64(20) {
			a.Settle(&commit.Progress{Frontier: n + 1, Ahead: []commit.Range{{From: 50, To: 60}}})
			time.Sleep(time.Second / 2)
		}
		a.Close()
		<-a.done
		if d := sent[50].Sub(begin); d < growsUp || d > growsUp+time.Second {
			t.Errorf("messages ahead were acknowledged after %v, want %v", d, growsUp)
		}
	})
}

// A broker confirms requests while it closes a topic, and forgets them. A later acknowledgement that it keeps would break the
// order of a key at the next owner.
func TestAckerSendsNothingAfterAbandon(t *testing.T) {
	for name, answer := range map[string]error{"request under way is confirmed": nil, "request under way fails": errors.New("connection error")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged strings.Builder
				var a *Acker
				sent := 0
				a = New(0, func([]pulsar.MessageID) error {
					if sent++; sent == 1 {
						a.Abandon()
					}
					return answer
				}, health.New(slog.New(slog.NewTextHandler(&logged, nil)), "pulsar"), "acknowledge orders/0")
				singles(&a.pending, 0, 5)
				a.limit = 1 // five requests for five messages
				go a.Run(t.Context())
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := a.Commit(ctx, &commit.Progress{Frontier: 5}); !errors.Is(err, ErrLost) {
					t.Errorf("Commit = %v, want ErrLost", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if sent != 1 {
					t.Errorf("%d requests were sent, want 1: the partition was lost", sent)
				}
				if logged.Len() > 0 {
					t.Errorf("logged a failure that is not retried: %s", logged.String())
				}
				select {
				case <-a.done:
				default:
					t.Error("Run has not returned")
					a.Close()
				}
			})
		})
	}
}

// Several channels are ready, and a select picks one at random. So each case repeats.
func TestCommitReturnsErrLostAfterAbandonWhateverElseHasEnded(t *testing.T) {
	live := t.Context()
	over, cancel := context.WithCancel(live)
	cancel()
	for name, c := range map[string]struct {
		end func(a *Acker)
		ctx context.Context
	}{
		"Run has returned":            {func(a *Acker) { a.Abandon(); a.Run(live) }, live},
		"Run has returned, Close too": {func(a *Acker) { a.Abandon(); a.Close(); a.Run(live) }, live},
		"ctx has ended":               {func(a *Acker) { a.Abandon() }, over},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range 1000 {
				a := New(0, func([]pulsar.MessageID) error { return nil }, health.New(slog.New(slog.DiscardHandler), "pulsar"), "acknowledge orders/0")
				c.end(a)
				if _, err := a.Commit(c.ctx, &commit.Progress{}); !errors.Is(err, ErrLost) {
					t.Fatalf("Commit %d = %v, want ErrLost", n, err)
				}
			}
		})
	}
}

func TestCommitReturnsErrReleasedAfterClose(t *testing.T) {
	a := New(0, func([]pulsar.MessageID) error { return nil }, health.New(slog.New(slog.DiscardHandler), "pulsar"), "acknowledge orders/0")
	a.Close()
	a.Run(t.Context())
	if _, err := a.Commit(t.Context(), &commit.Progress{}); !errors.Is(err, ErrReleased) {
		t.Errorf("Commit = %v, want ErrReleased", err)
	}
}
