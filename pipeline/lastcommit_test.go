package pipeline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// I4: a tick must not begin a commit while the partition is released: the last commit would cancel it and take its
// result for its own. Normally that moment is short, but a failed commit is followed by a pause.
func TestTickBeginsNoCommitDuringTheLastCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keystrand.Message{})
		tries := 0
		src := memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
			if tries++; tries == 1 {
				return errors.New("store is down")
			}
			return nil
		}}, log)
		p, err := From(src).Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return nil })).Build()
		if err != nil {
			t.Fatal(err)
		}
		sp, err := src.Accept(t.Context())
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
		first, _, err := pt.track(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := pt.tracker.Settle([]int64{first}); err != nil {
			t.Fatal(err)
		}
		pt.queue.Fence(nil)
		over := make(chan struct{})
		go func() {
			defer close(over)
			p.commitLast(t.Context(), pt, leaving{cause: keystrand.ErrLeaving}, newOwner())
		}()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if tries != 1 {
			t.Errorf("%d commits tried, want the second one to be due: the test proves nothing", tries)
		}
		if s := pt.tracker.State(); pt.commits.Due(s) {
			t.Error("I4: a tick began a commit")
			pt.commits.End(s, commit.Stored{}, 0, errors.New("not made"))
		}
		<-over
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 1 {
			t.Errorf("committed %+v, want 1", c)
		}
		if err := p.exec.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(sp.Release(t.Context()), src.Close()); err != nil {
			t.Error(err)
		}
	})
}
