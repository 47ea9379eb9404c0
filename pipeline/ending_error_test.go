package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// An abandoned call does not hide that outputs were dropped for want of a topic.
func TestRunNamesUnwrittenOutputsBesideAnAbandonedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: "Close", let: make(chan struct{})}
		defer close(h.let)
		out := sinkmemory.New()
		out.SetFault(func(context.Context, *keystrand.Message) error { return errNoTopic })
		run := start(t, pipeline.From(h).TransformFunc(echo).To(out))
		time.Sleep(5 * time.Second)
		err := run.stop()
		if e, ok := errors.AsType[*pipeline.UnwrittenError](err); !ok || e.Outputs != 1 {
			t.Errorf("Run = %v, want the output that is not written", err)
		}
		if _, ok := errors.AsType[*pipeline.StuckError](err); !ok {
			t.Errorf("Run = %v, want the abandoned call", err)
		}
	})
}

// lateSink is a sink whose Open takes long and fails.
type lateSink struct{ sink.Sink }

func (lateSink) Open() (sink.Writer, error) {
	time.Sleep(10 * time.Second)
	return nil, errBoom
}

// A dead-letter sink may still be opened when the last partition is released. Its error is one of Run all the same.
func TestRunReturnsTheErrorOfAnOpenThatFailsWhileItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New("no") }).
			OnFailure(pipeline.DeadLetter(lateSink{sinkmemory.New()})).
			Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(8 * time.Second)
		if err := run.stop(); !errors.Is(err, errBoom) {
			t.Errorf("Run = %v, want the error of Open", err)
		}
	})
}

// Failed counts a message once an ownership, although its handler and then its output fail.
func TestMessageThatFailsTwiceCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		log.Close()
		out := sinkmemory.New()
		out.SetFault(func(context.Context, *keystrand.Message) error { return keystrand.Permanent(errBoom) })
		calls := 0
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if calls++; calls == 1 {
					return errBoom
				}
				emit(*m)
				return nil
			}).To(out).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				if f.Permanent {
					return pipeline.Skip(f)
				}
				return pipeline.BlockFor(time.Second, time.Second)(f)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); s.Failed != 1 || s.Skipped != 1 {
			t.Errorf("failed %d, skipped %d; want 1 and 1", s.Failed, s.Skipped)
		}
	})
}

// Trouble of one sink takes no time from outputs of another one, and these are not lost with it.
func TestStopWaitsForOutputsAlthoughAnotherSinkIsInTrouble(t *testing.T) {
	for name, letters := range map[string]bool{"dead letters in trouble": true, "outputs in trouble": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad, good := newChecked(), newChecked()
				bad.SetFault(func(context.Context, *keystrand.Message) error { return errNoTopic })
				good.SetFault(func(ctx context.Context, _ *keystrand.Message) error {
					select {
					case <-time.After(6 * time.Second):
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				})
				out, dlq := good, bad
				if !letters {
					out, dlq = bad, good
				}
				log := memory.NewLog("posts", 1)
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						if string(m.Key) == "letter" {
							return errBoom
						}
						emit(*m)
						return nil
					}).To(out).OnFailure(pipeline.DeadLetter(dlq)))
				log.Append(0, keyed("letter"), keyed("output"))
				time.Sleep(time.Second)
				err := run.stop()
				if e, ok := errors.AsType[*pipeline.UnwrittenError](err); !ok || e.Outputs != 1 {
					t.Errorf("Run = %v, want one output that is not written", err)
				}
				if n := len(good.Messages()); n != 1 {
					t.Errorf("%d messages are stored in the sink without trouble, want 1", n)
				}
			})
		})
	}
}

// exitingSource is a source whose second Accept calls runtime.Goexit.
type exitingSource struct {
	*memory.Source
	accepted bool
}

func (s *exitingSource) Accept(ctx context.Context) (source.Partition, error) {
	if s.accepted {
		time.Sleep(time.Second) // the handler begins
		runtime.Goexit()
	}
	s.accepted = true
	return s.Source.Accept(ctx)
}

// An Accept that calls runtime.Goexit is a failure like another: Run drains before it returns.
func TestGoexitOfAcceptDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keyed("k"))
		log.Append(1, keyed("k"))
		handled := false
		run := start(t, pipeline.From(&exitingSource{Source: memory.NewSource(memory.Config{}, log)}).
			HandleFunc(func(context.Context, *keystrand.Message) error {
				time.Sleep(5 * time.Second)
				handled = true
				return nil
			}))
		if err := run.wait(); err == nil || !strings.Contains(err.Error(), "accept: the source called runtime.Goexit") {
			t.Errorf("Run = %v, want it to name Accept", err)
		}
		if !handled {
			t.Error("I10: Run has returned before its handler")
		}
	})
}
