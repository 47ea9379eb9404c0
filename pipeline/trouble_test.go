package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// checked is a sink whose Check and Trouble are functions.
type checked struct {
	*sinkmemory.Sink

	check   func(ctx context.Context) error
	trouble func() error
}

func (c *checked) Check(ctx context.Context) error { return c.check(ctx) }
func (c *checked) Trouble() error                  { return c.trouble() }
func (c *checked) String() string                  { return "topic out" }

func newChecked() *checked {
	return &checked{sinkmemory.New(), func(context.Context) error { return nil }, func() error { return nil }}
}

var errNoTopic = errors.Join(errors.New("topic out does not exist"), sink.ErrDestination)

// into builds a pipeline that writes to a sink: as outputs, or as dead letters.
func into(t *testing.T, log *memory.Log, letters bool, to sink.Sink) *pipeline.Builder {
	t.Helper()
	b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil))
	if letters {
		return b.HandleFunc(func(context.Context, *keystrand.Message) error { return errBoom }).OnFailure(pipeline.DeadLetter(to))
	}
	return b.TransformFunc(echo).To(to)
}

func eachWay(t *testing.T, test func(t *testing.T, letters bool)) {
	t.Helper()
	for name, letters := range map[string]bool{"outputs": false, "dead letters": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, letters) }) })
	}
}

// A sink that can never be written ends Run at once, before any message needs it.
func TestRunReturnsTheErrorOfACheckThatNoRetryHeals(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out := newChecked()
		out.check = func(context.Context) error { return keystrand.Permanent(errNoTopic) }
		log := memory.NewLog("posts", 1)
		run := start(t, into(t, log, letters, out))
		began := time.Now()
		if err := run.wait(); !errors.Is(err, sink.ErrDestination) || !strings.Contains(fmt.Sprint(err), "topic out does not exist") {
			t.Errorf("Run returned %v", err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("Run took %v", d)
		}
	})
}

func TestSinkOfAFallbackIsCheckedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newChecked()
		out.check = func(context.Context) error { return keystrand.Permanent(errNoTopic) }
		log := memory.NewLog("posts", 1)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing()).
			OnFailure(pipeline.DeadLetter(sinkmemory.New(), pipeline.Fallback(pipeline.DeadLetter(out)))))
		if err := run.wait(); !errors.Is(err, sink.ErrDestination) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A store that cannot be reached is trouble: shown, logged within 2 s and once a minute, not ready, and healed once.
func TestUnreachableSinkIsTroubleUntilItIsReached(t *testing.T) {
	for name, away := range map[string]func(ctx context.Context) error{
		"refuses": func(context.Context) error { return errors.New("connection refused") },
		"silent":  func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, letters bool) {
				t.Helper()
				out, up := newChecked(), atomic.Bool{}
				out.check = func(ctx context.Context) error {
					if up.Load() {
						return nil
					}
					return away(ctx)
				}
				var lines buffer
				log := memory.NewLog("posts", 1)
				run := start(t, into(t, log, letters, out).Logger(lines.logger()))
				time.Sleep(2 * time.Second)
				if !lines.has("sink write failed; retrying") || !lines.has(`sink="topic out"`) {
					t.Errorf("no line within 2 s:\n%s", lines.String())
				}
				s := run.Snapshot()
				if run.Ready() || len(s.Sinks) != 1 || s.Sinks[0].Sink != "topic out" || s.Sinks[0].DeadLetters != letters || s.Sinks[0].Err == nil {
					t.Errorf("ready %v, troubles %+v; want not ready, one", run.Ready(), s.Sinks)
				}
				time.Sleep(10 * time.Minute)
				if n := strings.Count(lines.String(), "sink write failed"); n < 10 || n > 11 {
					t.Errorf("%d lines in 10 minutes, want one a minute", n)
				}
				up.Store(true)
				time.Sleep(20 * time.Second)
				if n := strings.Count(lines.String(), "sink recovered"); n != 1 || !run.Ready() || len(run.Snapshot().Sinks) != 0 {
					t.Errorf("%d lines of recovery, ready %v", n, run.Ready())
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// While writes fail, however they fail, the trouble is shown and logged, and a stop does not wait for DrainTimeout. Only a
// destination that cannot be written makes Run return an error.
func TestStopWaitsShortlyForASinkInTrouble(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	for name, tc := range map[string]struct {
		write  func(ctx context.Context) error
		report error
		wrong  bool // Run returns an error
	}{
		"no topic":              {func(context.Context) error { return errNoTopic }, nil, true},
		"no leader":             {func(context.Context) error { return errors.New("no leader") }, nil, false},
		"hangs, cause is known": {hang, errors.New("connection refused"), false},
		"hangs, no topic":       {hang, errNoTopic, true},
		"hangs for no reason":   {hang, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, letters bool) {
				t.Helper()
				out := newChecked()
				out.SetFault(func(ctx context.Context, _ *keystrand.Message) error { return tc.write(ctx) })
				out.trouble = func() error { return tc.report }
				var lines buffer
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(20, 10)...)
				run := start(t, into(t, log, letters, out).Logger(lines.logger()))
				if name == "hangs for no reason" {
					time.Sleep(sinkSlow)
				}
				time.Sleep(2 * time.Second)
				if !lines.has("sink write failed; retrying") || run.Ready() || len(run.Snapshot().Sinks) != 1 {
					t.Errorf("ready %v, troubles %+v, log:\n%s", run.Ready(), run.Snapshot().Sinks, lines.String())
				}
				time.Sleep(time.Minute)
				conserve(t, run.Snapshot())
				began := time.Now()
				err := run.stop()
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("the stop took %v", d)
				}
				e, ok := errors.AsType[*pipeline.UnwrittenError](err)
				if ok != tc.wrong || !tc.wrong && err != nil || ok && (e.Outputs == 0 || !errors.Is(err, sink.ErrDestination)) {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// The first partition that gives up its outputs cancels a Write that has those of others too. They need not wait for the next
// Write to be in trouble.
func TestPartitionsGiveUpASinkInTroubleTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newChecked()
		var mu sync.Mutex
		var writing time.Time // since when a Write hangs; zero if none does
		out.SetFault(func(ctx context.Context, _ *keystrand.Message) error {
			mu.Lock()
			writing = time.Now()
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			writing = time.Time{}
			mu.Unlock()
			return context.Cause(ctx)
		})
		out.trouble = func() error {
			mu.Lock()
			defer mu.Unlock()
			if writing.IsZero() || time.Since(writing) < 2*time.Second {
				return nil
			}
			return errors.New("no answer")
		}
		log := memory.NewLog("posts", 3)
		for p := range int32(3) {
			log.Append(p, keyed(fmt.Sprint("key", p)))
		}
		log.Append(1, keyed("slow"))
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if string(m.Key) == "slow" { // its partition gives up later
					time.Sleep(11 * time.Second)
				}
				emit(*m)
				return nil
			}).To(out).Limits(pipeline.Limits{Writers: 1}))
		time.Sleep(10 * time.Second)
		began := time.Now()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("the stop took %v", d)
		}
	})
}

// One cluster may hang for source and sink. The wait for the sink is part of CloseTimeout.
func TestStopWithSourceAndSinkInTroubleTakesCloseTimeout(t *testing.T) {
	for _, method := range []string{"Commit", "Release", "Close"} {
		for _, honours := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s returns at the end of its ctx %v", method, honours), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					out := sinkmemory.New()
					out.SetFault(func(_ context.Context, m *keystrand.Message) error {
						if string(m.Key) == "bad" {
							return errors.New("no answer")
						}
						return nil
					})
					log := memory.NewLog("posts", 1)
					log.Append(0, keyed("bad"), keyed("good"))
					h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: method, honours: honours, let: make(chan struct{})}
					ctx, cancel := context.WithCancel(t.Context())
					run := startWith(t, ctx, pipeline.From(h).TransformFunc(echo).To(out).Timing(pipeline.Timing{CommitTimeout: time.Minute}))
					time.Sleep(10 * time.Second)
					began := time.Now()
					cancel()
					<-run.over
					if d := time.Since(began); d > 5*time.Second {
						t.Errorf("the stop took %v", d)
					}
					close(h.let)
					synctest.Wait()
				})
			})
		}
	}
}

// A wait for a sink takes no time from the end of a stop that a handler has held up for longer.
func TestCloseTimeoutCountsFromTheLastHandlerAlthoughASinkWasGivenUpBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sinkmemory.New()
		out.SetFault(func(context.Context, *keystrand.Message) error { return errors.New("no answer") })
		log := memory.NewLog("posts", 2)
		log.Append(0, keyed("bad"))
		log.Append(1, keyed("slow"))
		h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: "Close", let: make(chan struct{})}
		run := start(t, pipeline.From(h).TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			if string(m.Key) == "slow" {
				time.Sleep(20 * time.Second)
				return nil
			}
			emit(*m)
			return nil
		}).To(out))
		time.Sleep(10 * time.Second)
		run.cancel(nil)
		time.Sleep(14 * time.Second) // the handler has ended 4 s ago
		close(h.let)
		if err := run.wait(); err != nil {
			t.Errorf("Run returned %v before CloseTimeout", err)
		}
	})
}

const sinkSlow = 10 * time.Second

// Trouble of a sink takes no time from handlers, nor from outputs that can be written.
func TestStopWaitsForHandlersAlthoughASinkIsInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sinkmemory.New()
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "bad" {
				return errors.New("no leader")
			}
			return nil
		})
		log := memory.NewLog("posts", 1)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if string(m.Key) == "slow" {
					time.Sleep(20 * time.Second)
				}
				emit(*m)
				return nil
			}).To(out))
		log.Append(0, keyed("bad"), keyed("slow"))
		time.Sleep(10 * time.Second)
		began := time.Now()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); len(out.Key("slow")) != 1 || d > 15*time.Second {
			t.Errorf("%d outputs of the slow handler are stored, the stop took %v", len(out.Key("slow")), d)
		}
	})
}

// A Write that takes long, but not for trouble, is waited for.
func TestStopWaitsForASlowWrite(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out := newChecked()
		out.SetFault(func(context.Context, *keystrand.Message) error {
			time.Sleep(6 * time.Second)
			return nil
		})
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		run := start(t, into(t, log, letters, out))
		time.Sleep(time.Second)
		if err := run.stop(); err != nil || len(out.Messages()) != 1 {
			t.Errorf("Run returned %v, %d outputs are stored", err, len(out.Messages()))
		}
	})
}

// A fault that heals within a second is no trouble.
func TestShortFaultWithinAWriteIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, leader := newChecked(), atomic.Bool{}
		leader.Store(true)
		out.trouble = func() error {
			if leader.Load() {
				return nil
			}
			return errors.New("leader moved")
		}
		var lines buffer
		log := memory.NewLog("posts", 1)
		run := start(t, into(t, log, false, out).Logger(lines.logger()))
		for range 5 {
			time.Sleep(time.Second)
			leader.Store(false)
			time.Sleep(900 * time.Millisecond)
			if !run.Ready() {
				t.Error("not ready")
			}
			leader.Store(true)
		}
		if lines.has("sink write failed") {
			t.Error(lines.String())
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// The error of Run counts what was not written in all partitions.
func TestUnwrittenErrorCountsTheOutputsOfAllPartitions(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out := newChecked()
		out.SetFault(func(context.Context, *keystrand.Message) error { return errNoTopic })
		log := memory.NewLog("posts", 2)
		log.Append(0, keyed("a"), keyed("b"), keyed("c"))
		log.Append(1, keyed("d"), keyed("e"))
		run := start(t, into(t, log, letters, out))
		time.Sleep(10 * time.Second)
		err := run.stop()
		if e, ok := errors.AsType[*pipeline.UnwrittenError](err); !ok || e.Outputs != 5 {
			t.Errorf("Run returned %v, want that 5 outputs are not written", err)
		}
	})
}
