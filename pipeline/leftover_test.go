package pipeline

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// Goroutines that are about to end are gone an instant later, so a bubble does not fail on them. On one processor
// nothing runs beside a test, so a goroutine that was not awaited is still there.
func onOneProcessor(t *testing.T) {
	t.Helper()
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// I10: releasing a finite partition before all of it is settled waits for the goroutine that waits for its end.
func TestReleaseOfAFinitePartitionWaitsForItsEndWatcher(t *testing.T) {
	onOneProcessor(t)
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keystrand.Message{})
		p, err := From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return nil })).Build()
		if err != nil {
			t.Fatal(err)
		}
		sp, err := p.cfg.source.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pt, err := p.open(t.Context(), sp)
		if err != nil {
			t.Fatal(err)
		}
		b := source.Batch{MaxMessages: 1, MaxBytes: 1}
		if err := sp.Fetch(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if _, _, err := pt.track(&b); err != nil { // these messages never settle
			t.Fatal(err)
		}
		o := newOwner()
		o.fetched <- io.EOF
		pt.post.owner = o
		time.AfterFunc(time.Second, func() { pt.lose(commit.ErrFenced) })
		p.await(t.Context(), pt, o)
		if n := pt.gate.waiting.Load(); n != 0 {
			t.Errorf("I10: partition released while %d goroutines still wait for its end", n)
		}
		synctest.Wait()
		pt.queue.Fence(nil)
		if err := p.exec.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := sp.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.cfg.source.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// I10: with AbandonStuck, Run still waits for the workers of all handlers that return.
func TestRunWaitsForItsWorkersWithAbandonStuck(t *testing.T) {
	onOneProcessor(t)
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		log := memory.NewLog("posts", 1)
		for i := range n {
			log.Append(0, keystrand.Message{Key: fmt.Append(nil, i)})
		}
		workers := func() int {
			all := make([]byte, 1<<20)
			return strings.Count(string(all[:runtime.Stack(all, true)]), "keyed.(*Executor[...]).work(")
		}
		most := 0
		p, err := From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				time.Sleep(time.Second)
				if m.Offset == 0 {
					most = workers()
				}
				return nil
			})).AbandonStuck().Build()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = p.Run(ctx)
		left := workers()
		if err != nil {
			t.Fatal(err)
		}
		if most < n {
			t.Fatalf("%d workers while %d handlers ran: the test counts the wrong goroutines", most, n)
		}
		if left != 0 {
			t.Errorf("I10: %d workers are left after Run returned", left)
		}
	})
}
