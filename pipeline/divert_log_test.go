package pipeline_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// In an outage it would mislead to say that messages arrive too fast.
func TestLogOfDivertedKeysTellsAHotKeyFromOneThatIsPostponed(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		var down atomic.Bool
		log := source.NewLog("posts", 1)
		run := start(t, pipeline.From(source.NewSource(source.Config{}, log)).Logger(out.logger()).Divert(memory.New()).OnFailure(pipeline.Hold).
			Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}).
			HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
				if string(m.Key) == "bad" {
					return errBoom
				}
				time.Sleep(time.Second)
				if down.Load() {
					return keystrand.Later(time.Second, "down")
				}
				return ctx.Err()
			}))
		for range 1000 {
			log.Append(0, keyed("hot"))
		}
		log.Append(0, keyed("bad"))
		time.Sleep(150 * time.Second)
		hot := out.lines("keys are diverted")
		down.Store(true)
		time.Sleep(150 * time.Second)
		postponed := out.lines("keys are diverted")[len(hot):]
		if len(hot) == 0 || len(postponed) == 0 {
			t.Fatalf("%d and %d lines:\n%s", len(hot), len(postponed), out.String())
		}
		if line := hot[len(hot)-1]; !strings.Contains(line, " n=1 ") || !strings.Contains(line, " key=hot ") || !strings.Contains(line, " state=diverted") || strings.Contains(line, " error=") {
			t.Errorf("a hot key: %s", line)
		}
		if line := postponed[len(postponed)-1]; !strings.Contains(line, " state=diverted ") || !strings.Contains(line, "down") || !strings.Contains(line, " error=") {
			t.Errorf("a key that is postponed: %s", line)
		}
		held := out.lines("keys are held for an operator")
		if len(held) == 0 || !strings.Contains(held[0], " key=bad ") || !strings.Contains(held[0], " state=held error=boom") {
			t.Errorf("a key that is held: %q", held)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}
