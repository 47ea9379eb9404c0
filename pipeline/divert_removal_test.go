package pipeline_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	store "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
)

// A strand stays until a commit has all that was settled without a lane. Here a later message of the key is committed
// before an earlier one: the earlier one waited behind the pump when the key was held again, and joins the log late. If the
// strand were removed before the next commit, a crash would bring the earlier one back alone, behind the later one.
func TestStrandStaysUntilACommitHasWhatJoinedTheLogLate(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		const poisoned, before, late, slow, after = 40, 50, 51, 52, 53
		pl := newPlay(t)
		pl.work = 0
		pl.build = func(b *pipeline.Builder) {
			b.Limits(pipeline.Limits{Workers: 1, KeyShare: 8, FetchMessages: 16})
		}
		var takes atomic.Int64
		takes.Store(int64(100 * time.Millisecond))
		pl.seen = func(m *keystrand.Message) {
			if m.Offset == slow {
				time.Sleep(3 * time.Second)
			}
			time.Sleep(time.Duration(takes.Load()))
		}
		var removed atomic.Bool
		pl.trouble = func(_ context.Context, c store.Call) error {
			switch {
			case c.Op == store.Append && !c.Stored && c.Records[0].Message.Offset == before:
				time.Sleep(time.Second) // so that late finds the worker busy
			case c.Op == store.Save && c.Stored && c.Marks[0].Change == spill.Remove && !removed.Swap(true):
				pl.latest().kill()
			}
			return nil
		}
		hot := slices.Repeat([]string{"hot"}, before)
		hot[poisoned] = "hot!"
		pl.put(hot...)
		p := pl.process()
		time.Sleep(3500 * time.Millisecond) // few records are left: what comes now waits behind the pump
		pl.put("hot", "hot")
		for len(p.part(t, 0).Strands) == 0 || p.part(t, 0).Strands[0].State != pipeline.StrandHeld {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(500 * time.Millisecond)
		pl.put("slow", "hot")
		time.Sleep(2500 * time.Millisecond)
		c := pl.log.Group("").Committed(0)
		if !c.Settled(after) || c.Settled(late) {
			t.Fatalf("committed %+v: want %d without %d, else this test shows nothing", c, after, late)
		}
		time.Sleep(700 * time.Millisecond) // late has joined the log, and no commit has come since
		takes.Store(0)
		p.operate()
		_ = p.wait()
		if !removed.Load() {
			t.Fatal("the strand was not removed")
		}
		p = pl.process()
		time.Sleep(5 * time.Second)
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		pl.check()
	})
}

// The removal of one strand fails while marks of another are saved. Its own mark is saved later all the same.
func TestMarkOfAStrandIsSavedAfterItsRemovalHasFailed(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 8}) }
		var removals atomic.Int32
		pl.trouble = func(ctx context.Context, c store.Call) error {
			if c.Op != store.Save || c.Stored || len(c.Marks) != 1 || c.Marks[0].Key != "short" || c.Marks[0].Change != spill.Remove {
				return nil
			}
			if removals.Add(1) == 1 {
				_ = untilFree(ctx, 3*time.Second)
			}
			return errBoom
		}
		pl.put(slices.Repeat([]string{"short", "long"}, 250)...)
		pl.put(slices.Repeat([]string{"long"}, 2000)...)
		p := pl.process()
		time.Sleep(10 * time.Second)
		if n := removals.Load(); n < 2 {
			t.Fatalf("%d removals have failed: the test shows nothing", n)
		}
		p.kill()
		_ = p.wait()
		pl.trouble = nil
		p = pl.process()
		time.Sleep(time.Minute)
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
		pl.checkReplays(2 * time.Second)
	})
}
