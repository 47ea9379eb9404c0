package pipeline_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// Where Hold cannot divert a key it acts as Block, and the log says why. divert_full_test.go has the case of a full store.
func TestHoldOfAKeyThatCannotBeDivertedBlocksItAndSaysWhy(t *testing.T) { // seed 34
	for _, c := range []struct {
		name, why string
		keys      []string
	}{
		{"several lanes", "the message has several lanes", []string{"bad+worse!", "bad", "cold"}},
		{"barrier", "the message is a barrier", []string{"all!", "cold"}},
		{"several lanes behind it", "a message of several lanes, or a barrier, waits behind it", []string{"bad!", "bad", "bad+cold"}},
		{"barrier behind it", "a message of several lanes, or a barrier, waits behind it", []string{"bad!", "all"}},
		{"reserved name", "the pipeline reserves keys with this prefix", []string{"\x00keystrand offset 7!", "cold"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				var out buffer
				pl.build = func(b *pipeline.Builder) { b.Logger(out.logger()) }
				pl.put(c.keys...)
				p := pl.process()
				time.Sleep(5 * time.Second)
				if d := p.Snapshot().Diverting; d.Held != 0 || d.Strands != 0 {
					t.Errorf("%+v, want no diverted key", d)
				}
				if n := len(pl.handledOf()); n > 1 {
					t.Errorf("%d messages are handled, want at most the one of another key", n)
				}
				out.wantLine(t, 1, "message not handled", `became="key blocked until Resume, not held: `+c.why+`" offset=0`)
				pl.repair(pl.keys[0])
				if n := p.ResumeAll("posts", 0); n == 0 {
					t.Error("no key is blocked")
				}
				time.Sleep(5 * time.Second)
				if !pl.over() {
					t.Errorf("not all is handled after Resume: %+v", p.Snapshot())
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				pl.check()
			})
		})
	}
}

// Build cannot see what a policy of the user returns.
func TestHoldOfAPipelineWithoutAStoreBlocksTheKeyAndSaysWhy(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log := source.NewLog("posts", 1)
		run := start(t, pipeline.From(source.NewSource(source.Config{}, log)).Logger(out.logger()).
			OnFailure(func(f pipeline.Failure) pipeline.Action { return pipeline.Hold(f) }).
			Handle(failing(0)))
		log.Append(0, keyed("bad"))
		time.Sleep(time.Second)
		out.wantLine(t, 1, "message not handled", `became="key blocked until Resume, not held: there is no store" offset=0 key=bad`)
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A handler fails while the partition is released. The next owner calls it again, and holds the key.
func TestHoldWhileThePartitionIsReleasedBlocksTheKeyAndTheNextOwnerHoldsIt(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var out buffer
		pl.build = func(b *pipeline.Builder) { b.Logger(out.logger()) }
		pl.seen = func(*keystrand.Message) { time.Sleep(2 * time.Second) }
		pl.put("bad!", "bad")
		p := pl.process()
		time.Sleep(time.Second)
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		out.wantLine(t, 1, "message not handled", `became="key blocked until Resume, not held: the partition is being released" offset=0 key=bad`)
		p = pl.process()
		time.Sleep(5 * time.Second)
		if d := p.Snapshot().Diverting; d.Held != 1 || d.Records != 2 {
			t.Errorf("%+v, want the key held with 2 records", d)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}
