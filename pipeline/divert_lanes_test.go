package pipeline_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/pipeline"
)

// handledOf returns the offsets whose handlers succeeded, in order.
func (pl *play) handledOf() (all []int64) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for _, e := range pl.effects {
		all = append(all, e.offset)
	}
	return all
}

// A message of several lanes, or a barrier, waits for the log of a hot key.
func TestMessageOfSeveralLanesWaitsForTheLogOfAHotKey(t *testing.T) { // seed 34
	for _, key := range []string{"cold+hot", "hot+cold", "hot+warm+cold", "all"} {
		t.Run(key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}) }
				pl.put(slices.Repeat([]string{"hot", "warm"}, 50)...)
				pl.put(key, "cold", "hot")
				p := pl.process()
				time.Sleep(300 * time.Millisecond)
				if got := pl.handledOf(); len(got) > 70 || slices.Contains(got, 100) || slices.Contains(got, 101) {
					t.Errorf("handled %v; want neither 100 nor 101 before the others", got)
				}
				strands := p.part(t, 0).Strands
				if !slices.ContainsFunc(strands, func(s pipeline.StrandSnapshot) bool { return s.Key == "hot" && s.State == pipeline.StrandClosing }) {
					t.Errorf("strands %+v; want hot closing", strands)
				}
				time.Sleep(5 * time.Second)
				if !pl.over() {
					t.Errorf("not all is handled: %+v", p.Snapshot())
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				pl.check()
				pl.checkReplays(0)
			})
		})
	}
}

// Behind a held key, messages of several lanes wait for the operator, and so do later messages of their lanes. A key that fails
// again is held again.
func TestMessageOfSeveralLanesWaitsForTheOperatorOfAHeldKey(t *testing.T) { // seed 34
	for _, key := range []string{"cold+bad", "bad+cold", "all"} {
		t.Run(key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.put("cold", "bad!", "bad", "other")
				p := pl.process()
				time.Sleep(time.Second)
				pl.put(key, "cold", "bad", "other")
				time.Sleep(5 * time.Second)
				before, others := []int64{0, 3}, key != "all"
				if others {
					before = append(before, 7)
				}
				if got := slices.Sorted(slices.Values(pl.handledOf())); !slices.Equal(got, before) {
					t.Errorf("handled %v, want %v", got, before)
				}
				if n, err := p.ResumeHeld(t.Context(), "posts", 0, "bad", "ann"); n != 2 || err != nil { // it fails again
					t.Errorf("resume = %d, %v; want 2", n, err)
				}
				time.Sleep(5 * time.Second)
				if got := slices.Sorted(slices.Values(pl.handledOf())); !slices.Equal(got, before) {
					t.Errorf("after it failed again: handled %v, want %v", got, before)
				}
				if s := p.part(t, 0).Strands; len(s) != 1 || s[0].State != pipeline.StrandHeld || s[0].Records != 2 {
					t.Errorf("strands %+v; want bad held with 2 records", s)
				}
				if err := p.stop(); err != nil {
					t.Fatal(err)
				}
				p = pl.process()
				time.Sleep(2 * time.Second)
				p.operate()
				time.Sleep(5 * time.Second)
				if !pl.over() {
					t.Errorf("not all is handled: %+v", p.Snapshot())
				}
				conserveDiverted(t, p.Snapshot())
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				pl.check()
				pl.checkReplays(0)
			})
		})
	}
}

// Messages without order, and those whose key function fails, are held alone.
func TestMessageWithoutOrderIsHeldAlone(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.put("", "!", "", "unreadable", "cold", "!", "unreadable", "")
		p := pl.process()
		time.Sleep(3 * time.Second)
		check := func(held, frontier int64) []pipeline.StrandSnapshot {
			t.Helper()
			list, err := p.Held(t.Context(), "posts", 0, "", 10)
			if s := p.part(t, 0); err != nil || int64(len(list)) != held || s.Frontier != frontier || s.Committed != frontier {
				t.Errorf("held %+v, %v, frontier %d, committed %d; want %d keys and %d", list, err, s.Frontier, s.Committed, held, frontier)
			}
			return list
		}
		check(4, 8)
		if got := slices.Sorted(slices.Values(pl.handledOf())); !slices.Equal(got, []int64{0, 2, 4, 7}) {
			t.Errorf("handled %v, want all others", got)
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		p = pl.process()
		time.Sleep(2 * time.Second)
		list := check(4, 8)
		keyErrors := 0
		for _, h := range list {
			ms, why, err := p.Records(t.Context(), "posts", 0, h.Key, 10)
			if err != nil || len(ms) != 1 || why != h.Err || h.Records != 1 {
				t.Errorf("records of %q: %v, %q, %v; want one, %q", h.Key, ms, why, err, h.Err)
				continue
			}
			if string(ms[0].Key) == "" {
				pl.repair("")
			} else if keyErrors++; h.Err != "pipeline: key: no key" {
				t.Errorf("%q is held for %q", h.Key, h.Err)
			}
			if n, err := p.ResumeHeld(t.Context(), "posts", 0, h.Key, "ann"); n != 1 || err != nil {
				t.Errorf("resume %q = %d, %v", h.Key, n, err)
			}
		}
		if keyErrors != 2 {
			t.Errorf("%d messages are held because of their key, want 2", keyErrors)
		}
		time.Sleep(2 * time.Second)
		for _, h := range check(2, 8) { // their keys are as unreadable as before
			if _, err := p.SkipHeld(t.Context(), "posts", 0, h.Key, "ann"); err != nil {
				t.Errorf("skip %q: %v", h.Key, err)
			}
		}
		time.Sleep(2 * time.Second)
		check(0, 8)
		if !pl.over() || p.Snapshot().Diverting.Discarded != 2 {
			t.Errorf("not all is handled: %+v", p.Snapshot())
		}
		conserveDiverted(t, p.Snapshot())
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if got := slices.Sorted(slices.Values(pl.handledOf())); !slices.Equal(got, []int64{0, 1, 2, 4, 5, 7}) {
			t.Errorf("handled %v, want each once but those with unreadable keys", got)
		}
	})
}
