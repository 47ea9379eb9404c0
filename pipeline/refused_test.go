package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// I1: outputs behind a refused one wait until its dead letter is durable. Otherwise a restart before that could write the
// refused output behind them.
func TestOutputsOfAKeyWaitWhileARefusedOneBecomesADeadLetter(t *testing.T) {
	for _, lanes := range []int{1, 2} {
		t.Run(fmt.Sprint(lanes, " lanes"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("k"), keyed("k"), keyed("k"), keyed("other"))
				out, dlq := sinkmemory.New(), sinkmemory.New()
				var takes, away atomic.Bool // takes: the sink accepts message 0; away: the dead-letter sink is unavailable
				var order []int64
				away.Store(true)
				out.SetFault(func(_ context.Context, m *keystrand.Message) error {
					if m.Offset == 0 && !takes.Load() {
						return keystrand.Permanent(errors.New("too large"))
					}
					if string(m.Key) == "k" {
						order = append(order, m.Offset)
					}
					return nil
				})
				dlq.SetFault(func(context.Context, *keystrand.Message) error {
					if away.Load() {
						return errors.New("away")
					}
					return nil
				})
				var lines buffer
				begin := func() *running {
					return start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
						Key(func(m *keystrand.Message) (keystrand.Key, error) {
							if lanes == 1 {
								return keystrand.KeyOf(m.Key), nil
							}
							return keystrand.KeysOf(string(m.Key), string(m.Key)+" too"), nil
						}).
						Transform(keystrand.TransformerFunc(echo)).To(out).OnFailure(pipeline.DeadLetter(dlq)).
						Logger(lines.logger()).Timing(pipeline.Timing{DrainTimeout: time.Second}))
				}
				run := begin()
				time.Sleep(time.Minute)
				p := run.part(t, 0)
				if p.Frontier != 0 || p.Ahead != 1 || p.Oldest == nil || p.Oldest.Why != pipeline.WhyLetter || !strings.HasPrefix(p.Oldest.Key, "k") {
					t.Errorf("frontier %d, ahead %d, oldest %+v; want 0, the other key alone, and a key that waits for its dead letter", p.Frontier, p.Ahead, p.Oldest)
				}
				if !lines.has("refused message dead-lettered") {
					t.Error("the log does not report the refused message's outcome")
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
				takes.Store(true)
				run = begin() // the next owner; its sink accepts the message
				time.Sleep(time.Minute)
				synctest.Wait()
				if fmt.Sprint(order) != "[0 1 2]" {
					t.Errorf("I1: stored in the order %v, want [0 1 2]", order)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// The dead letter settles the message, and its key continues.
func TestKeyGoesOnAfterTheDeadLetterOfARefusedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(300, 3)...)
		out, dlq := sinkmemory.New(), sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if m.Offset%10 == 0 {
				return keystrand.Permanent(errors.New("too large"))
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(echo)).To(out).OnFailure(pipeline.DeadLetter(dlq)))
		time.Sleep(time.Minute)
		s := run.Snapshot()
		if p := s.Partitions[0]; p.Frontier != 300 || p.Sinking != 0 || s.DeadLettered != 30 || s.Written != 270 {
			t.Errorf("frontier %d, sinking %d, %d dead letters, %d written; want 300, 0, 30 and 270", p.Frontier, p.Sinking, s.DeadLettered, s.Written)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
