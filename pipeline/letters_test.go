package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// deadLetters runs a pipeline whose handler fails for all keys that begin with "bad". The dead-letter sink is
// unavailable until away is closed.
func deadLetters(t *testing.T, log *memory.Log, workers int, away <-chan struct{}) (*running, *sinkmemory.Sink) {
	t.Helper()
	dlq := sinkmemory.New()
	dlq.SetFault(func(context.Context, *keystrand.Message) error {
		select {
		case <-away:
			return nil
		default:
			return errors.New("no leader")
		}
	})
	return start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
		Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			if strings.HasPrefix(string(m.Key), "bad") {
				return errBoom
			}
			return nil
		})).OnFailure(pipeline.DeadLetter(dlq)).Limits(pipeline.Limits{Workers: workers, InFlight: 20_000})), dlq
}

func TestSnapshotShowsAKeyThatWaitsForItsDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("bad"), keyed("good"), keyed("bad"))
		away := make(chan struct{})
		run, dlq := deadLetters(t, log, 2, away)
		time.Sleep(time.Hour)
		p := run.part(t, 0)
		if p.Frontier != 0 || p.Ahead != 1 || p.Sinking != 1 || p.Ready != 1 || p.Parked != 0 {
			t.Errorf("frontier %d, ahead %d, sinking %d, ready %d, parked %d: want the good key settled, the bad one waiting", p.Frontier, p.Ahead, p.Sinking, p.Ready, p.Parked)
		}
		if len(p.ParkedKeys) != 1 {
			t.Fatalf("%d keys wait, want 1", len(p.ParkedKeys))
		}
		want := pipeline.KeySnapshot{Key: "bad", Waiting: 2, Age: time.Hour, Attempt: 1, Why: pipeline.WhyLetter, Since: p.ParkedKeys[0].Since}
		if time.Since(want.Since) != time.Hour {
			t.Errorf("it waits since %v, want an hour", want.Since)
		}
		if p.ParkedKeys[0] != want || p.Oldest == nil || *p.Oldest != want {
			t.Errorf("waiting key %+v, oldest %+v; want %+v", p.ParkedKeys[0], p.Oldest, want)
		}
		close(away)
		time.Sleep(time.Minute)
		if p := run.part(t, 0); p.Frontier != 3 || p.Oldest != nil || len(dlq.Messages()) != 2 {
			t.Errorf("frontier %d, oldest %+v, %d dead letters: want all settled", p.Frontier, p.Oldest, len(dlq.Messages()))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// I6: waiting for a dead letter occupies neither a worker nor a goroutine.
func TestWaitingDeadLettersOccupyNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, letters = 4, 1000
		log := memory.NewLog("posts", 2)
		away := make(chan struct{})
		run, dlq := deadLetters(t, log, workers, away)
		log.Append(0, keysOf(100, 100)...)
		log.Append(0, keyed("bad"))
		time.Sleep(time.Minute)
		before := runtime.NumGoroutine()
		for i := range letters - 1 {
			log.Append(0, keyed(fmt.Sprint("bad", i)))
		}
		time.Sleep(time.Minute)
		log.Append(0, keysOf(100, 100)...)
		log.Append(1, keysOf(100, 100)...)
		synctest.Wait()
		s := run.Snapshot()
		conserve(t, s)
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines while one dead letter waits, but %d while %d wait", before, n, letters)
		}
		if s.Running != 0 || s.InFlight != letters || s.Partitions[0].Sinking != letters {
			t.Errorf("I6: %d workers are busy, %d in flight, %d dead letters wait; want 0, %d and %d", s.Running, s.InFlight, s.Partitions[0].Sinking, letters, letters)
		}
		if s.Settled != 300 || s.DeadLettered != 0 {
			t.Errorf("I6: settled %d, dead-lettered %d: want the 300 messages of the other keys at once", s.Settled, s.DeadLettered)
		}
		close(away)
		time.Sleep(time.Minute)
		if n := len(dlq.Messages()); n != letters || run.part(t, 0).Frontier != letters+200 {
			t.Errorf("%d dead letters, frontier %d: want %d and %d", n, run.part(t, 0).Frontier, letters, letters+200)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
