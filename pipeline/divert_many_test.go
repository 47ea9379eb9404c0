package pipeline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// lateness records how late messages of other keys are handled.
type lateness struct{ most atomic.Int64 }

func (l *lateness) saw(m *keystrand.Message) {
	l.most.Store(max(l.most.Load(), int64(time.Since(m.Time))))
}

func (l *lateness) check(t *testing.T) {
	t.Helper()
	if most := time.Duration(l.most.Load()); most > 50*time.Millisecond {
		t.Errorf("a message of another key was handled %v late", most)
	}
}

// wantFlat checks that the heap has not grown by more than some bytes.
func wantFlat(t *testing.T, what string, before, now, more int64) {
	t.Helper()
	if grown := now - before; grown > more {
		t.Errorf("%s: the heap has grown by %d bytes, want at most %d", what, grown, more)
	}
}

func TestKeyThatTurnsHotAndColdAThousandTimesLeavesNothingBehind(t *testing.T) { // seed 33
	synctest.Test(t, func(t *testing.T) {
		const rounds = 1000
		log, store := source.NewLog("posts", 1), memory.New()
		var others lateness
		next, bad := int64(0), 0 // of the key hot
		run := start(t, pipeline.From(source.NewSource(source.Config{}, log)).Divert(store).
			Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 32}).Timing(pipeline.Timing{CommitInterval: 100 * time.Millisecond}).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) != "hot" {
					others.saw(m)
					return nil
				}
				if m.Offset < next {
					bad++
				}
				next = m.Offset + 1
				time.Sleep(5 * time.Millisecond)
				return nil
			}))
		for range 600 { // fill the list of events, which is kept
			run.PausePartition("posts", 7)
			run.ResumePartition("posts", 7)
		}
		var before int64
		for i := range rounds {
			if i == rounds/10 {
				before = heap()
			}
			for n := range 12 {
				m := keyed("hot")
				if n == 11 {
					m = keyed("cold")
				}
				m.Time = time.Now()
				log.Append(0, m)
				if n == 5 {
					time.Sleep(time.Millisecond) // the first half makes it hot
				}
			}
			time.Sleep(400 * time.Millisecond)
			if left := store.Strands("posts", 0); len(left) > 0 {
				t.Fatalf("round %d: the store has %+v, want nothing", i, left)
			}
			_, end := log.Bounds(0)
			log.Delete(0, end)
		}
		wantFlat(t, "900 times hot and cold", before, heap(), 64<<10)
		s := run.part(t, 0)
		if diverted := s.Diverting.Appended; diverted < rounds || s.Frontier != 12*rounds || s.Diverting.Strands != 0 {
			t.Errorf("%d messages were diverted, frontier %d: %+v; want at least one each time, and all handled", diverted, s.Frontier, s.Diverting)
		}
		conserveDiverted(t, run.Snapshot())
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		if bad > 0 {
			t.Errorf("I1: %d messages were handled after later ones", bad)
		}
		others.check(t)
	})
}

// Every key fails, and is held for an hour.
func TestThousandsOfKeysThatAreHeldForAnHourNeedNothing(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 10_000, 3
		log, store := source.NewLog("posts", 1), memory.New()
		var others lateness
		var broken atomic.Bool
		broken.Store(true)
		var handled, failed atomic.Int64
		build := func() *running {
			return start(t, pipeline.From(source.NewSource(source.Config{}, log)).Divert(store).OnFailure(pipeline.Hold).
				Limits(pipeline.Limits{InFlight: 1000, Workers: 16}).
				HandleFunc(func(_ context.Context, m *keystrand.Message) error {
					switch {
					case string(m.Key) == "cold":
						others.saw(m)
						return nil
					case broken.Load():
						failed.Add(1)
						return errBoom
					}
					handled.Add(1)
					return nil
				}))
		}
		run := build()
		for range each {
			for i := range keys {
				log.Append(0, keyed(fmt.Sprint("bad", i)))
			}
		}
		time.Sleep(10 * time.Second)
		check := func(run *running) {
			t.Helper()
			s := run.Snapshot()
			if d := s.Diverting; d.Held != keys || d.Records != keys*each || s.Partitions[0].Committed < keys*each || s.Running != 0 {
				t.Errorf("%+v, committed %d, running %d; want all keys held and committed", d, s.Partitions[0].Committed, s.Running)
			}
			if n := failed.Load(); n != keys {
				t.Errorf("handlers have failed %d times, want once a key", n)
			}
			conserveDiverted(t, s)
		}
		check(run)
		log.Delete(0, keys*each)
		before := heap()
		for range 60 {
			time.Sleep(time.Minute)
			m := keyed("cold")
			m.Time = time.Now()
			log.Append(0, m)
		}
		wantFlat(t, "an hour", before, heap(), 128<<10)
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		stored := heap() // the records are in it
		run = build()
		time.Sleep(3 * time.Second)
		check(run)
		wantFlat(t, "held keys that were restored", stored, heap(), keys*2<<10)
		broken.Store(false)
		for after := ""; ; {
			list, err := run.Held(t.Context(), "posts", 0, after, 500)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				after = s.Key
				if n, err := run.ResumeHeld(t.Context(), "posts", 0, s.Key, "ann"); n != each || err != nil {
					t.Fatalf("resume %s = %d, %v", s.Key, n, err)
				}
			}
			if len(list) == 0 {
				break
			}
		}
		time.Sleep(5 * time.Second)
		if n := handled.Load(); n != keys*each || len(store.Strands("posts", 0)) > 0 {
			t.Errorf("%d messages are handled, want %d; %d strands are left", n, keys*each, len(store.Strands("posts", 0)))
		}
		if err := run.stop(); err != nil {
			t.Error(err)
		}
		others.check(t)
	})
}
