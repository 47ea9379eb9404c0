package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	log "github.com/keystrand/keystrand/source/memory"
)

// slowToHear is a source that tells two seconds late that a partition is lost.
type slowToHear struct{ source.Source }

type slowToHearPartition struct {
	source.Partition
	leaving  chan source.Leave
	released chan struct{}
}

func (s slowToHear) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	late := &slowToHearPartition{p, make(chan source.Leave, 1), make(chan struct{})}
	go func() {
		select {
		case l := <-p.Leaving():
			time.Sleep(2 * time.Second)
			late.leaving <- l
		case <-late.released:
		}
	}()
	return late, nil
}

func (p *slowToHearPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p *slowToHearPartition) Release(ctx context.Context) error {
	close(p.released)
	return p.Partition.Release(ctx)
}

// The next owner goes on where the marks are, in the middle of a drain. Nothing counts that the old owner does later.
func TestNextOwnerGoesOnInTheMiddleOfADrainAlthoughTheOldOneGoesOnToo(t *testing.T) { // seed 33
	for _, how := range []string{"lost", "stopped"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}) }
				pl.put("bad!", "bad")
				for range 400 {
					pl.put("hot")
				}
				pl.wrap = func(src source.Source) source.Source { return slowToHear{src} }
				old := pl.process()
				time.Sleep(1600 * time.Millisecond)
				if d := old.part(t, 0).Diverting; d.Drained < 50 || d.Records < 100 {
					t.Errorf("%+v; want the middle of a drain", d)
				}
				pl.wrap = nil
				next := pl.process()
				pl.ended()
				if how == "lost" {
					if !old.mem.Lose("posts", 0) {
						t.Fatal("it is not owned")
					}
					for range 20 { // while the old one goes on
						pl.put("hot", "cold")
						time.Sleep(100 * time.Millisecond)
					}
				}
				if err := old.stop(); err != nil {
					t.Errorf("Run of the old owner = %v", err)
				}
				time.Sleep(2 * time.Second)
				next.operate()
				time.Sleep(10 * time.Second)
				if !pl.over() {
					t.Errorf("not all is handled: %+v", next.Snapshot())
				}
				if err := next.stop(); err != nil {
					t.Error(err)
				}
				pl.check()
				pl.checkReplays(time.Second)
				if n := pl.store.Logs(); n != 0 {
					t.Errorf("%d logs are open", n)
				}
			})
		})
	}
}

// A topic is deleted and made again while keys are held or hot. The records of the old topic come first; new messages
// of their keys wait in the lane. Other keys go on.
func TestRecordsOfADeletedTopicComeBeforeThoseOfItsSuccessor(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		posts, store := log.NewLog("posts", 1), memory.New()
		var mu sync.Mutex
		broken, got, logs := true, map[string][]string{}, map[string]bool{} // logs: which the handler is told for old and new messages
		build := func() *running {
			return start(t, pipeline.From(watch(t, log.NewSource(log.Config{}, posts), nil)).Divert(store).OnFailure(pipeline.Hold).
				Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}).
				HandleFunc(func(ctx context.Context, m *keystrand.Message) error {
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
						return ctx.Err()
					}
					mu.Lock()
					defer mu.Unlock()
					if broken && strings.HasPrefix(string(m.Key), "bad") {
						return errBoom
					}
					got[string(m.Key)] = append(got[string(m.Key)], string(m.Value))
					identity, _ := keystrand.LogOf(ctx)
					logs[string(m.Value[:3])+" "+identity] = true
					return nil
				}))
		}
		want := map[string][]string{}
		put := func(topic string, n int, keys ...string) {
			for i := range n {
				for _, key := range keys {
					value := fmt.Sprint(topic, i)
					want[key] = append(want[key], value)
					posts.Append(0, keystrand.Message{Key: []byte(key), Value: []byte(value)})
				}
			}
		}
		put("old", 5, "bad", "bad2")
		put("old", 100, "hot")
		run := build()
		time.Sleep(1500 * time.Millisecond)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		posts.Recreate()
		put("new", 5, "bad", "hot", "cold")
		put("newer", 25, "hot", "cold")
		run = build()
		time.Sleep(2500 * time.Millisecond)
		mu.Lock()
		cold := len(got["cold"])
		mu.Unlock()
		s := run.part(t, 0)
		if cold < 30 {
			t.Errorf("%d messages of cold are handled, want 30: %+v", cold, s)
		}
		if s.Diverting.Held != 2 || s.Parked != 7 {
			t.Errorf("%+v, %d parked; want two held keys; their 5 new messages wait in the lane behind the pumps", s.Diverting, s.Parked)
		}
		if err := run.stop(); err != nil { // the new messages come again
			t.Fatal(err)
		}
		run = build()
		time.Sleep(1500 * time.Millisecond)
		mu.Lock()
		broken = false
		mu.Unlock()
		for _, key := range []string{"bad", "bad2"} {
			if n, err := run.ResumeHeld(t.Context(), "posts", 0, key, "ann"); n != 5 || err != nil {
				t.Errorf("resume %s = %d, %v; want 5", key, n, err)
			}
		}
		time.Sleep(5 * time.Second)
		s = run.part(t, 0)
		conserveDiverted(t, run.Snapshot())
		if s.Committed != 65 || s.Diverting.Strands != 0 {
			t.Errorf("not all is handled: %+v", s)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if len(logs) != 2 { // one for the old messages, another for the new ones
			t.Errorf("handlers were told the logs %v, want one for each topic", logs)
		}
		for key := range want {
			if !slices.Equal(got[key], want[key]) {
				t.Errorf("%s: handled\n%q, want\n%q", key, got[key], want[key])
			}
		}
	})
}

// The source ends while keys are held: everything else is handled, and Run says what is held.
func TestRunOfAFiniteSourceCountsTheKeysThatAreHeld(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}) }
		pl.put("bad!", "worse!", "", "bad", "worse", "bad", "cold")
		pl.put(slices.Repeat([]string{"hot"}, 60)...)
		pl.log.Close()
		err := pl.process().wait()
		held, ok := errors.AsType[*pipeline.HeldError](err)
		if !ok || held.Keys != 2 || held.Records != 5 || held.Stream != "posts" || held.Reason != "boom" || (held.Key != "bad" && held.Key != "worse") {
			t.Fatalf("Run = %v (%+v), want a HeldError of 2 keys with 5 messages", err, held)
		}
		if text := err.Error(); !strings.Contains(text, "2 held keys") || !strings.Contains(text, "resume, skip or drop") {
			t.Errorf("the error says %q", text)
		}
		if c := pl.log.Group("").Committed(0); c.Frontier != 67 {
			t.Errorf("committed %d, want 67", c.Frontier)
		}
		if n := len(pl.effects); n != 62 {
			t.Errorf("%d messages are handled, want 62", n)
		}
	})
}
