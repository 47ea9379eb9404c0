package pipeline_test

import (
	"slices"
	"strings"
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

// The store has later messages of the key, which the source has not fetched again yet: MaxReplay, for example, does not allow it.
// Until then the key is blocked for growing pauses.
func TestHoldBeforeTheStoredMessagesOfTheKeyAreFetchedAgainIsTriedAgain(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var out buffer
		limits := pipeline.Limits{KeyShare: 16, FetchMessages: 4}
		pl.build = func(b *pipeline.Builder) { b.Logger(out.logger()).Limits(limits) }
		pl.seen = func(*keystrand.Message) { time.Sleep(time.Minute) }
		pl.put("bad!")
		pl.put(slices.Repeat([]string{"bad"}, 19)...)
		p := pl.process()
		time.Sleep(10 * time.Second) // the first message is with its handler
		if d := p.Snapshot().Diverting; d.Records == 0 {
			t.Fatalf("%+v, want messages in the store", d)
		}
		p.kill()
		_ = p.wait()
		pl.seen, limits.MaxReplay = nil, 4
		p = pl.process()
		time.Sleep(10 * time.Minute)
		lines := out.lines("message not handled")
		if len(lines) < 5 || len(lines) > 20 {
			t.Errorf("%d lines in 10 minutes, want fewer and fewer", len(lines))
		}
		const why = "not held: the messages stored by the previous owner are still being fetched"
		for i, line := range lines {
			pause := []string{"1s", "2s", "4s", "8s", "16s", "32s", "1m0s"}[min(i, 6)]
			if !strings.Contains(line, "key blocked for "+pause+", "+why) {
				t.Errorf("line %d is %s, want a pause of %s and the reason", i, line, pause)
			}
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		limits.MaxReplay = 0
		p = pl.process()
		time.Sleep(time.Minute)
		if ms, _, err := p.Records(t.Context(), "posts", 0, "bad", 100); err != nil || len(ms) != 20 {
			t.Errorf("%d records, %v, want the key held with all 20", len(ms), err)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}
