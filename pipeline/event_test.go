package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// heard collects the events of a pipeline, and checks that their numbers ascend without a gap.
type heard struct {
	mu  sync.Mutex
	all []pipeline.Event
}

func (h *heard) hear(e pipeline.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

func (h *heard) events() []pipeline.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// kinds returns the kinds of the events of a partition, but for some.
func (h *heard) kinds(partition int32, but ...pipeline.EventKind) (kinds []string) {
	for _, e := range h.events() {
		if e.Partition.Stream != "" && e.Partition.Partition == partition && !slices.Contains(but, e.Kind) {
			kinds = append(kinds, e.Kind.String())
		}
	}
	return kinds
}

func (h *heard) only(t *testing.T, kind pipeline.EventKind) pipeline.Event {
	t.Helper()
	var found []pipeline.Event
	for _, e := range h.events() {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d events %q, want 1: %+v", len(found), kind, h.events())
	}
	return found[0]
}

func (h *heard) ascend(t *testing.T) {
	t.Helper()
	for i, e := range h.events() {
		if e.Seq != uint64(i)+1 || e.At.IsZero() {
			t.Fatalf("event %d: %+v: numbers must ascend by one, and times be set", i, e)
		}
	}
}

func TestEventsTellTheLifeOfAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(4, 4)...)
		mem := memory.NewSource(memory.Config{}, log)
		var h heard
		run := start(t, pipeline.From(watch(t, mem, nil)).OnEvent(h.hear).Timing(pipeline.Timing{DrainTimeout: 3 * time.Second}).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 3 && m.Epoch == 1 {
					time.Sleep(5300 * time.Millisecond) // between two commits
				}
				return nil
			}))
		time.Sleep(4 * time.Second)
		mem.Revoke("posts", 0)
		time.Sleep(10 * time.Second)
		mem.Lose("posts", 0)
		time.Sleep(time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		h.ascend(t)
		want := []string{
			"accepted", "committed", "leaving", "drained", "committed", "released",
			"accepted", "lost", "leaving", "released",
			"accepted", "leaving", "drained", "released",
		}
		if got := h.kinds(0); !slices.Equal(got, want) {
			t.Errorf("events %q\nwant   %q", got, want)
		}
		var of []pipeline.Event
		for _, e := range h.events() {
			if e.Partition.Partition == 0 && e.Partition.Epoch == 1 {
				of = append(of, e)
			}
		}
		if e := of[1]; e.Messages != 3 || e.Err != nil {
			t.Errorf("%+v, want 3 messages", e)
		}
		if e := of[2]; !errors.Is(e.Err, keystrand.ErrLeaving) {
			t.Errorf("%+v, want the cause", e)
		}
		if e := of[3]; e.Took != 1300*time.Millisecond || e.Messages != 0 {
			t.Errorf("%+v, want a drain of 1.3 s that leaves nothing", e)
		}
		if e := of[5]; e.Took != 1300*time.Millisecond || !errors.Is(e.Err, keystrand.ErrLeaving) || e.Messages != 0 {
			t.Errorf("%+v, want 1.3 s and the cause", e)
		}
		if e := h.only(t, pipeline.EventLost); !errors.Is(e.Err, keystrand.ErrLost) || e.Partition.Epoch != 2 {
			t.Errorf("%+v, want ErrLost of epoch 2", e)
		}
		if e := h.only(t, pipeline.EventStopping); !errors.Is(e.Err, context.Canceled) || e.Partition != (source.ID{}) {
			t.Errorf("%+v, want the cause and no partition", e)
		}
	})
}

// A fenced commit loses the partition: one event and one line.
func TestFencedCommitIsOneLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fenced := fmt.Errorf("the store says: %w", commit.ErrFenced)
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(4, 4)...)
		var h heard
		var out buffer
		run := start(t, pipeline.From(memory.NewSource(memory.Config{BeforeCommit: func(_ context.Context, id source.ID, _ *commit.Progress) error {
			if id.Epoch == 1 {
				return fenced
			}
			return nil
		}}, log)).OnEvent(h.hear).Logger(out.logger()).HandleFunc(nothing))
		time.Sleep(10 * time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if e := h.only(t, pipeline.EventLost); !errors.Is(e.Err, fenced) {
			t.Errorf("%+v, want the error of the commit", e)
		}
		out.wantLine(t, 1, "partition lost: a newer owner has it", "level=WARN .*epoch=1.*the store says")
		want := []string{"accepted", "commit failed", "lost", "leaving", "released", "accepted"}
		if kinds := h.kinds(0); !slices.Equal(kinds[:min(len(want), len(kinds))], want) {
			t.Errorf("events %q", kinds)
		}
	})
}

func TestEventsOfFailuresAndOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("bad"), keyed("bad"), keyed("worse"))
		var h heard
		var out buffer
		var repaired atomic.Bool
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).OnEvent(h.hear).Logger(out.logger()).Divert(spill.New()).
			HandleFunc(func(context.Context, *keystrand.Message) error {
				if repaired.Load() {
					return nil
				}
				return errBoom
			}).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				if string(f.Message.Key) == "worse" {
					return pipeline.Block(f)
				}
				return pipeline.Hold(f)
			}))
		time.Sleep(5 * time.Second)
		repaired.Store(true)
		if _, err := run.SkipHeld(t.Context(), "posts", 0, "bad", "ann"); err != nil {
			t.Fatal(err)
		}
		if !run.Resume("posts", 0, "worse") || run.Resume("posts", 0, "worse") {
			t.Error("want one key that is resumed once")
		}
		run.PausePartition("posts", 0)
		run.PausePartition("posts", 0) // changes nothing
		run.ResumePartition("posts", 0)
		run.PausePartition("posts", 7)
		if err := run.SetWorkers(3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		h.ascend(t)
		want := []string{"accepted", "held", "blocked", "skipped", "resumed", "paused", "unpaused", "direct", "leaving", "drained", "released"}
		got := h.kinds(0, pipeline.EventCommitted)
		slices.Sort(want[1:3])
		slices.Sort(got[1:3])
		slices.Sort(want[4:8])
		slices.Sort(got[4:min(8, len(got))])
		if !slices.Equal(got, want) {
			t.Errorf("events %q\nwant   %q", got, want)
		}
		for kind, want := range map[pipeline.EventKind]pipeline.Event{
			pipeline.EventHeld:    {Key: "bad", Err: errBoom},
			pipeline.EventBlocked: {Key: "worse", Err: errBoom},
			pipeline.EventSkipped: {Key: "bad", Messages: 1, By: "ann"},
			pipeline.EventResumed: {Key: "worse", Messages: 1},
			pipeline.EventDirect:  {Key: "bad"},
			pipeline.EventWorkers: {Messages: 3},
		} {
			e := h.only(t, kind)
			if e.Key != want.Key || e.Messages != want.Messages || e.By != want.By || !errors.Is(e.Err, want.Err) {
				t.Errorf("%+v, want %+v", e, want)
			}
		}
		out.wantLine(t, 6, "operator acted")
		for _, act := range []string{
			"action=skip by=ann key=bad offset=0", `action=resume by="" key=worse`, "stream=posts partition=0 epoch=1 action=pause", "action=unpause",
			"stream=posts partition=7 action=pause", `action="set workers" workers=3`,
		} {
			if !slices.ContainsFunc(out.lines("operator acted"), func(line string) bool { return strings.Contains(line, act) }) {
				t.Errorf("no line with %s: %q", act, out.lines("operator acted"))
			}
		}
		if n := len(out.lines("message not handled")); n != 2 {
			t.Errorf("%d lines about messages that were not handled, want 2", n)
		}
	})
}

// Diverting and the way back are events in their order, however often.
func TestDivertedKeysAreEventsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		var h heard
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).OnEvent(h.hear).Divert(spill.New()).
			Limits(pipeline.Limits{InFlight: 40, KeyShare: 10, FetchMessages: 10}).
			HandleFunc(func(context.Context, *keystrand.Message) error { time.Sleep(time.Millisecond); return nil }))
		for range 5 {
			log.Append(0, keysOf(500, 1)...)
			time.Sleep(20 * time.Second)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		h.ascend(t)
		got := h.kinds(0, pipeline.EventCommitted)
		got = got[1 : len(got)-3]
		if len(got) < 10 {
			t.Errorf("%q, want the key to be diverted five times", got)
		}
		for i, kind := range got {
			if want := []string{"diverted", "direct"}[i%2]; kind != want {
				t.Fatalf("event %d is %q, want %q: %q", i, kind, want, got)
			}
		}
	})
}

// The list keeps neither stored commits, nor a commit that fails again: hand-overs would soon be gone.
func TestListOfEventsKeepsTheLast1024WithoutCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		var down atomic.Bool
		down.Store(true)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
			if down.Load() {
				return errBoom
			}
			return nil
		}}, log)).HandleFunc(nothing))
		kinds := func(after uint64) (kinds []string) {
			for _, e := range run.Events(after) {
				kinds = append(kinds, e.Kind.String())
			}
			return kinds
		}
		log.Append(0, keysOf(1, 1)...)
		time.Sleep(30 * time.Second)
		down.Store(false)
		time.Sleep(2 * time.Second)
		log.Append(0, keysOf(1, 1)...)
		time.Sleep(2 * time.Second)
		down.Store(true)
		log.Append(0, keysOf(1, 1)...)
		time.Sleep(2 * time.Second)
		down.Store(false)
		time.Sleep(2 * time.Second)
		if got, want := kinds(0), []string{"accepted", "commit failed", "commit failed"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for range 1100 {
			run.PausePartition("posts", 0)
			run.ResumePartition("posts", 0)
		}
		all := run.Events(0)
		if n := len(all); n != 1024 {
			t.Errorf("%d events are kept, want 1,024", n)
		}
		for i, e := range all[1:] {
			if e.Seq != all[i].Seq+1 {
				t.Fatalf("event %d has the number %d, behind %d", i+1, e.Seq, all[i].Seq)
			}
		}
		last := all[len(all)-1].Seq
		if got := kinds(last - 2); !slices.Equal(got, []string{"paused", "unpaused"}) || len(run.Events(last)) != 0 {
			t.Errorf("the last two events are %q", got)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFailingOnEventIsLoggedAndEventsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(4, 4)...)
		var h heard
		var out buffer
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).HandleFunc(nothing).Logger(out.logger()).OnEvent(func(e pipeline.Event) {
			h.hear(e)
			switch e.Kind {
			case pipeline.EventAccepted:
				panic("oh")
			case pipeline.EventCommitted:
				runtime.Goexit()
			default:
			}
		}))
		time.Sleep(5 * time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		h.ascend(t)
		if got, want := h.kinds(0), []string{"accepted", "committed", "leaving", "drained", "released"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		out.wantLine(t, 2, "OnEvent failed; events go on", `level=ERROR .*event=accepted error="panic: oh"`)
	})
}

// A blocked OnEvent holds up no handler, no commit and no release, and Run for CloseTimeout.
func TestBlockedOnEventHoldsUpTheEndOfRunAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		var out buffer
		free := make(chan struct{})
		mem := memory.NewSource(memory.Config{}, log)
		run := start(t, pipeline.From(mem).HandleFunc(nothing).OnEvent(func(pipeline.Event) { <-free }).
			Logger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))))
		time.Sleep(time.Second)
		log.Append(0, keysOf(1000, 10)...)
		mem.Revoke("posts", 1)
		for range 10_000 {
			run.PausePartition("posts", 1)
			run.ResumePartition("posts", 1)
		}
		time.Sleep(5 * time.Second)
		s := run.Snapshot()
		if s.Settled != 1000 || s.Partitions[0].Committed != 1000 || s.Partitions[1].ID.Epoch != 2 {
			t.Errorf("%d settled, %+v; want all settled and committed, and epoch 2 of partition 1", s.Settled, s.Partitions)
		}
		out.wantLine(t, 1, "a call has not returned; waiting", "call=OnEvent")
		out.wantLine(t, 1, "OnEvent is too slow; events left out", `n=1\d\d\d\d`)
		begun := time.Now()
		err := run.stop()
		stuck, ok := errors.AsType[*pipeline.StuckError](err)
		if !ok || !slices.Equal(stuck.Calls, []string{"OnEvent"}) {
			t.Errorf("Run returned %v, want a StuckError that names OnEvent", err)
		}
		if d := time.Since(begun); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("Run returned after %v, want CloseTimeout", d)
		}
		close(free)
		synctest.Wait()
	})
}

func TestEventsFromBeforeRunAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Close()
		var h heard
		var out buffer
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).HandleFunc(nothing).OnEvent(h.hear).Logger(out.logger()).Build()
		if err != nil {
			t.Fatal(err)
		}
		p.PausePartition("posts", 0)
		out.wantLine(t, 1, "operator acted", "level=INFO .*stream=posts partition=0 action=pause")
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.ascend(t)
		if got := h.kinds(0); !slices.Equal(got, []string{"paused"}) {
			t.Errorf("%q, want the pause", got)
		}
	})
}

// Keys and errors may be a megabyte long, and 1,024 events are kept.
func TestEventsKeepLittleOfLongKeysAndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keystrand.Message{Key: []byte(strings.Repeat("k", 1<<20))})
		var h heard
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).OnEvent(h.hear).OnFailure(pipeline.Block).
			HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New(strings.Repeat("x", 1<<20)) }))
		time.Sleep(time.Second)
		if e := h.only(t, pipeline.EventBlocked); len(e.Key) != 256+3 || len(e.Err.Error()) != 4096+3 {
			t.Errorf("a key of %d bytes and an error of %d, want 259 and 4099", len(e.Key), len(e.Err.Error()))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
