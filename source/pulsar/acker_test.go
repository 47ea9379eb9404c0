// Virtual time: every test here makes a bubble.

package pulsar

import (
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

// What is settled grows from try to try; why it is not acknowledged stays the same.
func TestTroubleWithAcknowledgementsIsToldOnceHoweverManyThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanded(&commit.Progress{})
		singles(h, 0, 100)
		slow := errors.New("request timed out")
		var told strings.Builder
		a := newAcker(h, func(ids []pulsar.MessageID) error {
			failed := pulsar.AckError{}
			for _, id := range ids {
				failed[id] = slow
			}
			return failed
		}, health.New(slog.New(slog.NewTextHandler(&told, nil)), "pulsar"), "acknowledge orders/0")
		go a.run(t.Context())
		for n := range int64(50) {
			a.settle(&commit.Progress{Frontier: n + 1})
			time.Sleep(10 * second)
		}
		a.close()
		<-a.done
		if n := strings.Count(told.String(), "operation failed; retrying"); n != 1 || !strings.Contains(told.String(), slow.Error()) {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
	})
}

// An owner is young for a while, not for as long as it goes on acknowledging.
func TestWhatIsHeldBackAtFirstGoesOutAlthoughOtherAcknowledgementsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanded(&commit.Progress{})
		singles(h, 0, 100)
		sent := make(map[int64]time.Time)
		a := newAcker(h, func(ids []pulsar.MessageID) error {
			for _, id := range ids {
				sent[id.EntryID()] = time.Now()
			}
			return nil
		}, health.New(slog.New(slog.DiscardHandler), "pulsar"), "acknowledge orders/0")
		go a.run(t.Context())
		begin := time.Now()
		for n := range int64(20) {
			a.settle(&commit.Progress{Frontier: n + 1, Ahead: []commit.Range{{From: 50, To: 60}}})
			time.Sleep(second / 2)
		}
		a.close()
		<-a.done
		if d := sent[50].Sub(begin); d < growsUp || d > growsUp+second {
			t.Errorf("what is ahead was acknowledged after %v, want after %v", d, growsUp)
		}
	})
}
