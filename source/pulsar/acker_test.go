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
		h := newHanded(false, &commit.Progress{})
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
		if n := strings.Count(told.String(), "trying again"); n != 1 || !strings.Contains(told.String(), slow.Error()) {
			t.Errorf("told %d times:\n%s", n, told.String())
		}
	})
}
