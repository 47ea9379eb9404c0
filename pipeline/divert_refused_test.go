package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// A message that the store can never keep, behind others of its key that are in the store, waits and lets its key wait.
// After a restart with a larger limit all goes on in order.
func TestKeyWaitsWhoseNextMessageTheStoreCannotKeep(t *testing.T) { // seed 34
	for _, c := range []struct {
		name    string
		keys    []string
		refused int64
	}{
		{"held", []string{"cold", "bad!", "bad", "bad", "bad"}, 2},
		{"hot and held", append([]string{"bad", "bad", "bad!"}, slices.Repeat([]string{"bad"}, 57)...), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				var out buffer
				pl.build = func(b *pipeline.Builder) {
					b.Limits(pipeline.Limits{KeyShare: 40, FetchMessages: 8}).Logger(out.logger())
				}
				pl.refusesRecord(c.refused)
				pl.put(c.keys...)
				p := pl.process()
				time.Sleep(5 * time.Second)
				before := pl.handledOf()
				pl.put("cold", "bad")
				p.Resume("posts", 0, "bad")
				time.Sleep(5 * time.Second)
				if got := pl.handledOf(); len(got) != len(before)+1 || got[len(before)] != int64(len(c.keys)) {
					t.Errorf("handled %v, then %v: want only the other key to go on", before, got)
				}
				if !out.has(`became="key waits, since other messages of it are in the store: raise the limit of the store, then restart"`) {
					t.Errorf("the log does not say why the key waits:\n%s", out.String())
				}
				p.kill()
				_ = p.wait()
				p = pl.process()
				time.Sleep(5 * time.Second)
				if got := pl.handledOf()[len(before)+1:]; slices.Contains(got, c.refused) || slices.Contains(got, c.refused+1) {
					t.Errorf("handled %v after a restart: want neither %d nor later ones of its key", got, c.refused)
				}
				if err := p.stop(); err != nil {
					t.Errorf("stop: %v", err)
				}
				pl.strike = nil
				pl.repair("bad")
				p = pl.process()
				time.Sleep(2 * time.Second)
				p.operate()
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
		})
	}
}

// A store that refuses a message works.
func TestTroubleOfTheStoreEndsWhenItRefusesAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var out buffer
		pl.build = func(b *pipeline.Builder) {
			b.Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}).Logger(out.logger())
		}
		var failed atomic.Int64
		pl.strike = func(_ int, c memory.Call) error {
			i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == 79 })
			if i < 0 || c.Stored {
				return nil
			}
			if failed.Add(1) == 1 {
				return errBoom
			}
			return &spill.RecordError{Record: i, Err: errBoom}
		}
		pl.put(append(slices.Repeat([]string{"cold", "hot"}, 39), "cold")...)
		p := pl.process()
		time.Sleep(100 * time.Millisecond)
		pl.put("hot")
		time.Sleep(time.Minute)
		if failed.Load() < 2 || !pl.over() {
			t.Errorf("%d appends failed; not all is handled: %+v", failed.Load(), p.Snapshot())
		}
		if d := p.Snapshot().Diverting; d.Err != nil || !out.has("recovered") {
			t.Errorf("a minute after the store has answered: %v since %v\n%s", d.Err, d.Since, out.String())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A producer can choose any key, also one with the bytes that name the strand of a message without order.
func TestKeyThatIsNamedLikeAStrandWithoutOrderKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}) }
		const key = "\x00keystrand offset 1"
		pl.put(key+"!", "!")
		pl.put(slices.Repeat([]string{key, "cold"}, 10)...)
		p := pl.process()
		time.Sleep(5 * time.Second)
		if got := slices.DeleteFunc(pl.handledOf(), func(o int64) bool { return pl.keys[o] != key }); len(got) > 0 {
			t.Errorf("handled %v of a key whose first message has failed", got)
		}
		pl.repair(key)
		pl.repair("")
		for range 3 {
			p.operate()
			time.Sleep(5 * time.Second)
		}
		if !pl.over() {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
	})
}

// In an outage, keys go to the store before they fill the budget. After it, a handler of batches gets batches, however many keys
// are in the store.
func TestManyDivertedKeysAreHandledInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 100, 500
		var down atomic.Bool
		var calls, n atomic.Int64
		down.Store(true)
		log := source.NewLog("posts", 1)
		for i := range keys * each {
			log.Append(0, keyed(fmt.Sprint("k", i%keys)))
		}
		run := start(t, pipeline.From(watch(t, source.NewSource(source.Config{}, log), nil)).
			HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
				if down.Load() {
					return keystrand.Later(time.Second, "down")
				}
				time.Sleep(5 * time.Millisecond)
				calls.Add(1)
				n.Add(int64(len(ms)))
				return nil
			}).
			Divert(memory.New()))
		time.Sleep(time.Minute)
		appended := run.Snapshot().Diverting.Appended
		down.Store(false)
		time.Sleep(10 * time.Minute)
		if appended < keys*each*3/4 || n.Load() != keys*each || n.Load() < 30*calls.Load() {
			t.Errorf("%d of %d messages went to the store; %d were handled in %d calls: want 30 a call or more", appended, keys*each, n.Load(), calls.Load())
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The store refuses a message while the partition is released: the appender ends.
func TestReleaseEndsAnAppendThatTheStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 40, FetchMessages: 8}) }
		var calls atomic.Int64
		pl.strike = func(_ int, c memory.Call) error {
			i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == 3 })
			switch {
			case i < 0 || c.Stored:
				return nil
			case calls.Add(1) == 1:
				time.Sleep(2 * time.Second)
			case calls.Load() > 1000:
				return nil // so that the test ends
			}
			return &spill.RecordError{Record: i, Err: errBoom}
		}
		pl.put(append([]string{"bad", "bad", "bad!"}, slices.Repeat([]string{"bad"}, 57)...)...)
		p := pl.process()
		time.Sleep(time.Second)
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls of Append, want 1", n)
		}
	})
}

// Errors of messages from the store are forgotten when these are handled or discarded, as those of any other message.
func TestErrorsOfMessagesFromTheStoreAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 50, 400
		log := source.NewLog("posts", 1)
		var turns, handled atomic.Int64
		run := start(t, pipeline.From(watch(t, source.NewSource(source.Config{}, log), nil)).
			HandleBatchFunc(func(_ context.Context, ms []*keystrand.Message) error {
				switch n := turns.Add(1); {
				case n%3 == 0:
					return keystrand.RetryAfter(50*time.Millisecond, errBoom)
				case n%3 == 1 && len(ms) > 1:
					handled.Add(1)
					return &keystrand.BatchError{Settled: 1, Err: keystrand.RetryAfter(time.Second, errBoom)}
				}
				handled.Add(int64(len(ms)))
				return nil
			}).
			Divert(memory.New()))
		for i := range keys * each {
			log.Append(0, keyed(fmt.Sprint("k", i%keys)))
		}
		time.Sleep(time.Hour)
		if appended := run.Snapshot().Diverting.Appended; appended < keys*each/2 || handled.Load() != keys*each {
			t.Errorf("%d messages went to the store, %d of %d were handled", appended, handled.Load(), keys*each)
		}
		if n := run.KeptErrors(); n != 0 {
			t.Errorf("the errors of %d messages are kept", n)
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A message that waits for a larger limit lets no operator wait.
func TestOperationOnAKeyWithAMessageThatTheStoreCannotKeepFailsAtOnce(t *testing.T) { // seed 34
	for what, do := range operations {
		if what == "list records" {
			continue
		}
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.refusesRecord(2)
				pl.put("cold", "bad!", "bad", "bad")
				p := pl.process()
				time.Sleep(5 * time.Second)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, err := do(ctx, p.Pipeline, 0, "bad")
				if !errors.Is(err, pipeline.ErrNotStored) || !strings.Contains(err.Error(), "offset 2: ") || !strings.Contains(err.Error(), "then restart") {
					t.Errorf("%v, want ErrNotStored with the offset and what to do", err)
				}
				if d := time.Since(began); d > 0 {
					t.Errorf("it took %v", d)
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				p = pl.process() // the message before it is in the store, and it waits in its lane
				time.Sleep(5 * time.Second)
				if _, err := do(ctx, p.Pipeline, 0, "bad"); err != nil {
					t.Errorf("after a restart: %v", err)
				}
				time.Sleep(5 * time.Second)
				if got := pl.handledOf(); what != "resume" && !slices.Equal(got, []int64{0, 2, 3}) {
					t.Errorf("handled %v after a restart, want 0, 2 and 3", got)
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// An operator calls before the store has answered.
func TestOperationThatWaitsForAMessageEndsWhenTheStoreRefusesIt(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.strike = func(_ int, c memory.Call) error {
			i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == 2 })
			if i < 0 || c.Stored {
				return nil
			}
			time.Sleep(10 * time.Second)
			return &spill.RecordError{Record: i, Err: errBoom}
		}
		pl.put("cold", "bad!", "bad", "bad")
		p := pl.process()
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if _, err := p.SkipHeld(ctx, "posts", 0, "bad", "ann"); !errors.Is(err, pipeline.ErrNotStored) || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v, want ErrNotStored as soon as the store has answered", time.Since(began), err)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Message 1 is held. The pipeline stops while the Append of message 2 is under way, which the store then refuses: its lane waits
// for it.
func TestReleaseDropsAMessageOfALaneThatTheStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.strike = func(_ int, c memory.Call) error {
			i := slices.IndexFunc(c.Records, func(r spill.Record) bool { return r.Message.Offset == 2 })
			if i < 0 || c.Stored {
				return nil
			}
			time.Sleep(2 * time.Second)
			return &spill.RecordError{Record: i, Err: errBoom}
		}
		pl.put("cold", "bad!", "bad", "bad", "bad")
		p := pl.process()
		time.Sleep(time.Second)
		p.cancel(nil)
		select {
		case <-p.running.over:
			if err := p.running.wait(); err != nil {
				t.Error(err)
			}
			conserveDiverted(t, p.Snapshot())
		case <-time.After(time.Hour):
			t.Fatal("Run has not returned after an hour")
		}
	})
}

// The message of several lanes came in the same batch as the one that is refused, and is in their lane before the store answers.
func TestKeyWaitsWhoseMessageTheStoreCannotKeepBeforeOneOfSeveralLanes(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var out buffer
		pl.build = func(b *pipeline.Builder) {
			b.Limits(pipeline.Limits{KeyShare: 16, FetchMessages: 8}).Logger(out.logger())
		}
		pl.refusesRecord(40)
		pl.put(slices.Repeat([]string{"hot"}, 41)...)
		pl.put("hot+cold", "cold", "hot")
		p := pl.process()
		time.Sleep(5 * time.Second)
		out.wantLine(t, 1, "message refused by the store",
			`became="key waits, since a message of several lanes, or a barrier, waits behind this one: raise the limit of the store, then restart" key=hot offset=40`)
		if got := pl.handledOf(); len(got) > 40 {
			t.Errorf("handled %v, want none from 40 on", got)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.strike = nil
		p = pl.process()
		time.Sleep(5 * time.Second)
		if !pl.over() {
			t.Errorf("not all is handled after a restart: %+v", p.Snapshot())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		pl.check()
	})
}
