package pipeline_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// A store that has DivertBytes gets no further key. Partitions with diverted keys fetch again once an eighth is free.
func TestDivertBytesReachedDivertsNoFurtherKeyAndHoldBlocks(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		const limit, batch = 400, 16 // bytes; 100 messages of the key hot
		pl := newPlay(t)
		others := source.NewLog("others", 1)
		pl.more = []*source.Log{others}
		var out buffer
		pl.build = func(b *pipeline.Builder) {
			b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: batch, DivertBytes: limit}).Logger(out.logger())
		}
		pl.seen = func(m *keystrand.Message) {
			switch string(m.Key) {
			case "bad":
				time.Sleep(400 * time.Millisecond)
			case "warm":
				time.Sleep(100 * time.Millisecond)
			}
		}
		pl.put(append([]string{"bad!", "bad"}, slices.Repeat([]string{"hot"}, 300)...)...)
		p := pl.process()
		time.Sleep(200 * time.Millisecond)
		for range 40 {
			others.Append(0, keyed("warm"))
		}
		before, fetches, most := p.partOf("posts"), 0, int64(0)
		for range 700 {
			time.Sleep(5 * time.Millisecond)
			s := p.partOf("posts")
			most = max(most, s.Diverting.Bytes)
			if s.Position > before.Position {
				fetches++
				if free := before.Diverting.Bytes - 2*4; free > limit-limit/8 { // two messages in 5 ms
					t.Errorf("the partition fetches from %d to %d although the store had %d bytes", before.Position, s.Position, before.Diverting.Bytes)
				}
			} else if s.Position < 302 && s.Diverting.Bytes > limit && s.Waits != pipeline.WaitDivert {
				t.Errorf("the store has %d bytes, and the partition waits for %v", s.Diverting.Bytes, s.Waits)
			}
			before = s
			if o := p.partOf("others"); o.Diverting.Strands > 0 && s.Position < 302 {
				t.Errorf("a further key is diverted: %+v", o.Strands)
			}
		}
		if fetches < 5 || most < limit || most > limit+2*batch*4 {
			t.Errorf("the partition has fetched %d times, and the store had %d bytes at most; want about %d", fetches, most, limit)
		}
		out.wantLine(t, 1, "message not handled", `became="key blocked until Resume, not held: Limits.DivertBytes is used up" offset=0 key=bad`)
		pl.repair("bad")
		if !p.Resume("posts", 0, "bad") {
			t.Error("the key is not blocked")
		}
		time.Sleep(time.Minute)
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
	})
}

// refusesRecord makes the store refuse the message with an offset for good.
func (pl *play) refusesRecord(offset int64) {
	pl.strike = func(_ int, c memory.Call) error {
		i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == offset })
		if i < 0 || c.Stored {
			return nil
		}
		return &spill.RecordError{Record: i, Err: errBoom}
	}
}

func TestMessageOfAHotKeyThatTheStoreCannotKeepWaitsInMemory(t *testing.T) { // seed 34
	for _, end := range []string{"goes on", "killed"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				var out buffer
				pl.build = func(b *pipeline.Builder) {
					b.Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}).Logger(out.logger())
				}
				pl.refusesRecord(30)
				pl.put(slices.Repeat([]string{"hot", "cold"}, 40)...)
				p := pl.process()
				time.Sleep(250 * time.Millisecond)
				if end == "killed" {
					p.kill()
					_ = p.wait()
					p = pl.process()
				}
				time.Sleep(10 * time.Second)
				if n := len(out.lines("message refused by the store")); n == 0 {
					t.Errorf("the log does not say that the store has refused a message:\n%s", out.String())
				}
				if !pl.over() {
					t.Errorf("not all is handled: %+v", p.Snapshot())
				}
				conserveDiverted(t, p.Snapshot())
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				pl.check()
				pl.checkReplays(time.Second)
			})
		})
	}
}

func TestHoldBlocksAKeyWhoseMessageTheStoreCannotKeep(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var out buffer
		pl.build = func(b *pipeline.Builder) { b.Logger(out.logger()) }
		pl.refusesRecord(1)
		var attempts []int32
		pl.seen = func(m *keystrand.Message) {
			if m.Offset == 1 {
				attempts = append(attempts, m.Attempt)
			}
		}
		pl.put("cold", "bad!", "bad", "cold", "bad")
		p := pl.process()
		time.Sleep(5 * time.Second)
		s := p.partOf("posts")
		if s.Parked != 4 || s.Diverting.Records != 0 || len(s.ParkedKeys) != 1 || s.ParkedKeys[0].Why != pipeline.WhyBlocked {
			t.Errorf("parked %d, in the store %d, keys %+v; want a blocked key with its pump and 3 messages", s.Parked, s.Diverting.Records, s.ParkedKeys)
		}
		if list, err := p.Held(t.Context(), "posts", 0, "", 10); len(list) > 0 || err != nil {
			t.Errorf("held keys %+v, %v; want none", list, err)
		}
		if !out.has("message refused by the store") || !out.has("not held") {
			t.Errorf("the log does not say why the key is blocked:\n%s", out.String())
		}
		pl.repair("bad")
		if !p.Resume("posts", 0, "bad") {
			t.Error("the key is not blocked")
		}
		time.Sleep(5 * time.Second)
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		conserveDiverted(t, p.Snapshot())
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
		if !slices.Equal(attempts, []int32{1, 1}) {
			t.Errorf("attempts %v, want 1 before the block and 1 after Resume", attempts)
		}
	})
}
