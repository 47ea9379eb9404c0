package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

func TestBlockForRetriesAfterGrowingPausesAndResumeEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("bad"), keyed("bad"), keyed("good"))
		began := time.Now()
		var calls []time.Duration // times of the calls for the bad key's first message
		var attempts []int32
		var healed atomic.Bool
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 0 {
					calls, attempts = append(calls, time.Since(began)), append(attempts, m.Attempt)
				}
				if string(m.Key) == "bad" && !healed.Load() {
					return errBoom
				}
				return nil
			})).OnFailure(pipeline.BlockFor(time.Second, 4*time.Second)))
		time.Sleep(12 * time.Second)
		p := run.part(t, 0)
		if k := p.Oldest; k == nil || k.Key != "bad" || k.Why != pipeline.WhyBlocked || !k.Until.Equal(began.Add(15*time.Second)) || p.Ahead != 1 {
			t.Errorf("oldest %+v, %d ahead; want the bad key blocked until second 15, and the good one settled", k, p.Ahead)
		}
		if !run.Resume("posts", 0, "bad") {
			t.Error("Resume reported false for a parked key")
		}
		time.Sleep(time.Second)
		healed.Store(true)
		if n := run.ResumeAll("posts", 0); n != 1 {
			t.Errorf("ResumeAll = %d, want 1", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 11 * time.Second, 12 * time.Second, 13 * time.Second}
		if !slices.Equal(calls, want) {
			t.Errorf("handled at %v, want %v", calls, want)
		}
		if slices.ContainsFunc(attempts, func(n int32) bool { return n != 1 }) {
			t.Errorf("attempts %v, want 1 after each pause", attempts)
		}
		if p := run.part(t, 0); p.Frontier != 3 {
			t.Errorf("frontier %d, want 3", p.Frontier)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBlockForRecoversWhenTheDatabaseRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(2_000, 400)...)
		began := time.Now()
		l := newLedger(t)
		for i, m := range keysOf(2_000, 400) {
			l.put(0, int64(i), string(m.Key))
		}
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), l)).
			Use(middleware.Retry(middleware.RetryPolicy{MaxAttempts: 5})).
			Handle(l.handler(func(context.Context, *keystrand.Message) error {
				if time.Since(began) < 3*time.Second {
					return errors.New("connection refused")
				}
				return nil
			})).OnFailure(pipeline.BlockFor(time.Second, time.Minute)))
		time.Sleep(10 * time.Second)
		l.checkAllSettled()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBlockForRetriesARefusedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"), keyed("k"), keyed("other"))
		began := time.Now()
		out := sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "k" && time.Since(began) < time.Hour {
				return keystrand.Permanent(errors.New("no permission"))
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(*m)
				return nil
			})).To(out).OnFailure(pipeline.BlockFor(0, 0)))
		time.Sleep(2 * time.Hour)
		if p := run.part(t, 0); p.Frontier != 3 {
			t.Errorf("frontier %d, want 3", p.Frontier)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBlockForWithANegativePauseIsRefusedByBuild(t *testing.T) {
	for _, p := range []pipeline.Policy{pipeline.BlockFor(-1, 0), pipeline.BlockFor(0, -1)} {
		if p != nil {
			t.Error("want nil")
		}
	}
}

func TestLogNamesABlockedKeyAsResumeAcceptsIt(t *testing.T) {
	for _, name := range []string{"post-7", "", "\x00\xff", `"quoted"`, " spaces "} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("not the lane"))
				var logged string
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return errBoom })).
					Key(func(*keystrand.Message) (keystrand.Key, error) { return keystrand.KeyOfString(name), nil }).
					OnFailure(pipeline.Block).Logger(slog.New(&attribute{name: "key", value: &logged})))
				synctest.Wait()
				if p := run.part(t, 0); p.Oldest == nil || p.Oldest.Key != logged {
					t.Errorf("logged key %q, snapshot %+v", logged, p.Oldest)
				}
				if !run.Resume("posts", 0, logged) {
					t.Errorf("Resume(%q) reported false for a parked key", logged)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// attribute is a slog.Handler that keeps the last value of one attribute.
type attribute struct {
	name string

	mu    sync.Mutex
	value *string
}

func (*attribute) Enabled(context.Context, slog.Level) bool { return true }
func (a *attribute) WithAttrs([]slog.Attr) slog.Handler     { return a }
func (a *attribute) WithGroup(string) slog.Handler          { return a }
func (a *attribute) Handle(_ context.Context, r slog.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Attrs(func(at slog.Attr) bool {
		if at.Key == a.name {
			*a.value = at.Value.String()
		}
		return true
	})
	return nil
}
