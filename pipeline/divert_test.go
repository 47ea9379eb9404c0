package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// A key that gets ten times what its handler can do delays only itself: its messages go to the store and come back in order.
func TestHotKeyIsDivertedAndOthersGoOn(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		log := source.NewLog("posts", 1)
		store := l.keeps(memory.New())
		late := 0
		start0 := time.Now()
		h := l.handler(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) != "hot" && time.Since(m.Time) > 100*time.Millisecond {
				late++
			}
			time.Sleep(5 * time.Millisecond)
			return nil
		})
		run := start(t, pipeline.From(watch(t, source.NewSource(source.Config{}, log), l)).Handle(h).Divert(store).
			Limits(pipeline.Limits{Workers: 16, InFlight: 1000}))
		put := func(key string) {
			m := keyed(key)
			m.Time = time.Now()
			off := log.Append(0, m) - 1
			l.put(0, off, key)
		}
		for i := range 4000 {
			put("hot")
			if i%4 == 0 {
				put(fmt.Sprint("k", i%400))
			}
			time.Sleep(500 * time.Microsecond)
		}
		synctest.Wait()
		s := run.part(t, 0)
		if s.Diverting.Strands != 1 || s.Diverting.Records < 2000 || s.Strands[0].Key != "hot" {
			t.Errorf("diverting %+v, strands %+v; want hot with at least 2,000 records", s.Diverting, s.Strands)
		}
		if late > 0 {
			t.Errorf("%d messages of other keys were handled more than 100 ms late", late)
		}
		time.Sleep(4000*5*time.Millisecond + 3*time.Second - time.Since(start0))
		synctest.Wait()
		s = run.part(t, 0)
		if s.Diverting.Strands != 0 || s.Diverting.Records != 0 || s.Frontier != 5000 {
			t.Errorf("%+v, frontier %d, strands %+v; want none, 5000", s.Diverting, s.Frontier, s.Strands)
		}
		if left := store.Strands("posts", 0); len(left) > 0 {
			t.Errorf("store has %+v; want nothing", left)
		}
		l.checkAllSettled()
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if n := store.Logs(); n != 0 {
			t.Errorf("%d logs are open, want 0", n)
		}
	})
}

// A failing key is held, its later messages join it, and an operator lets it go on, over a restart.
func TestFailingKeyIsHeldUntilAnOperatorActs(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		log := source.NewLog("posts", 1)
		store := l.keeps(memory.New())
		broken := true
		h := l.handler(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "bad" && m.Offset == 10 && broken {
				return errors.New("boom")
			}
			return nil
		})
		for i := range 100 {
			key := fmt.Sprint("k", i%7)
			if i%5 == 0 {
				key = "bad"
			}
			l.put(0, log.Append(0, keyed(key))-1, key)
		}
		build := func() *running {
			return start(t, pipeline.From(watch(t, source.NewSource(source.Config{}, log), l)).Handle(h).Divert(store).OnFailure(pipeline.Hold))
		}
		run := build()
		time.Sleep(3 * time.Second)
		list, err := run.Held(t.Context(), "posts", 0, "", 10)
		if err != nil || len(list) != 1 || list[0].Key != "bad" || list[0].Records != 18 || list[0].Err != "boom" {
			t.Fatalf("held %+v, %v; want bad with 18 records", list, err)
		}
		if s := run.part(t, 0); s.Frontier != 100 || s.Committed != 100 {
			t.Errorf("frontier %d, committed %d; want 100", s.Frontier, s.Committed)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		run = build()
		l.put(0, log.Append(0, keyed("bad"))-1, "bad")
		time.Sleep(3 * time.Second)
		ms, why, err := run.Records(t.Context(), "posts", 0, "bad", 3)
		if err != nil || len(ms) != 3 || ms[0].Offset != 10 || why != "boom" {
			t.Errorf("records %v, %q, %v", ms, why, err)
		}
		broken = false
		if n, err := run.ResumeHeld(t.Context(), "posts", 0, "bad", "ann"); n != 19 || err != nil {
			t.Errorf("resume = %d, %v; want 19", n, err)
		}
		time.Sleep(3 * time.Second)
		l.checkAllSettled()
		if s := run.part(t, 0); s.Diverting.Strands != 0 || s.Diverting.Drained != 19 {
			t.Errorf("%+v", s.Diverting)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
