package pipeline_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
)

// A message of a hot key is refused, and set aside, while the store reads for its key. What is read may be behind it.
func TestKeyWaitsWhoseMessageIsRefusedDuringARead(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		const refused = 41
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}) }
		var slow atomic.Bool
		pl.trouble = func(_ context.Context, c memory.Call) error {
			if c.Op == memory.Read && !c.Stored && slow.Swap(false) {
				time.Sleep(2 * time.Second)
			}
			i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == refused })
			if i < 0 || c.Stored {
				return nil
			}
			return &spill.RecordError{Record: i, Err: errBoom}
		}
		pl.put(slices.Repeat([]string{"hot"}, 40)...)
		p := pl.process()
		time.Sleep(200 * time.Millisecond)
		slow.Store(true)
		for slow.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		pl.put("hot", "hot", "hot", "hot+cold")
		time.Sleep(10 * time.Second)
		if got := pl.handledOf(); slices.ContainsFunc(got, func(o int64) bool { return o >= refused }) {
			t.Errorf("handled %v: want none from %d on", got, refused)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.trouble = nil
		p = pl.process()
		time.Sleep(10 * time.Second)
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
	})
}

// A key could not be held, since the store refused its first message, and becomes hot before it is resumed. The pump of the hold
// that was given up is still in the lane: it must not be taken for the one behind the messages that came since.
func TestKeyThatCouldNotBeHeldKeepsItsOrderWhenItBecomesHot(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}) }
		pl.refusesRecord(0)
		pl.put("bad!", "bad", "bad")
		p := pl.process()
		time.Sleep(time.Second)
		for range 5 {
			pl.put("bad", "bad", "bad", "bad", "bad", "bad")
			time.Sleep(time.Second)
		}
		if s := p.partOf("posts"); s.Diverting.Appended == 0 {
			t.Errorf("no message is in the store: the test shows nothing: %+v", s)
		}
		pl.repair("bad")
		p.Resume("posts", 0, "bad")
		time.Sleep(10 * time.Second)
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		conserveDiverted(t, p.Snapshot())
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
	})
}
