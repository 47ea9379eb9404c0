package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// A letter that no form makes acceptable goes on by its Fallback.
func TestRefusedDeadLetterFollowsItsFallback(t *testing.T) {
	refusing := func() *sinkmemory.Sink { return limited(0) }
	for name, tc := range map[string]struct {
		fallback func(other *sinkmemory.Sink, self sink.Sink) pipeline.Policy
		other    int // letters in the other sink
		skipped  int64
		fails    bool
	}{
		"skip":          {func(*sinkmemory.Sink, sink.Sink) pipeline.Policy { return pipeline.Skip }, 0, 2, false},
		"another sink":  {func(o *sinkmemory.Sink, _ sink.Sink) pipeline.Policy { return pipeline.DeadLetter(o) }, 2, 0, false},
		"the same sink": {func(_ *sinkmemory.Sink, s sink.Sink) pipeline.Policy { return pipeline.DeadLetter(s) }, 0, 0, true},
		"stop":          {func(*sinkmemory.Sink, sink.Sink) pipeline.Policy { return pipeline.Stop }, 0, 0, true},
		"block":         {func(*sinkmemory.Sink, sink.Sink) pipeline.Policy { return pipeline.Block }, 0, 0, true},
		"no fallback":   {func(*sinkmemory.Sink, sink.Sink) pipeline.Policy { return nil }, 0, 0, true},
		"one that panics": {func(*sinkmemory.Sink, sink.Sink) pipeline.Policy {
			return func(pipeline.Failure) pipeline.Action { panic("no") }
		}, 0, 0, true},
		"a chain that comes back": {func(_ *sinkmemory.Sink, s sink.Sink) pipeline.Policy {
			return pipeline.DeadLetter(refusing(), pipeline.Fallback(pipeline.DeadLetter(s)))
		}, 0, 0, true},
		"a chain": {func(o *sinkmemory.Sink, _ sink.Sink) pipeline.Policy {
			return pipeline.DeadLetter(refusing(), pipeline.Fallback(pipeline.DeadLetter(o)))
		}, 2, 0, false},
	} {
		for _, from := range []string{"handler", "sink"} {
			t.Run(name+" from "+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dlq, other := refusing(), sinkmemory.New()
					log := memory.NewLog("posts", 1)
					log.Append(0, keyed("a"), keyed("b"))
					log.Close()
					b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
						OnFailure(pipeline.DeadLetter(dlq, pipeline.Fallback(tc.fallback(other, dlq))))
					if from == "sink" {
						b.TransformFunc(echo).To(refusing())
					} else {
						b.HandleFunc(func(context.Context, *keystrand.Message) error { return errBoom })
					}
					run, began := start(t, b), time.Now()
					err := run.wait()
					if d := time.Since(began); d > time.Second {
						t.Errorf("took %v: a refusal for good is not tried again", d)
					}
					if e, ok := errors.AsType[*pipeline.FailureError](err); tc.fails != ok || !tc.fails && err != nil ||
						ok && (!strings.Contains(e.Error(), "dead letter refused: ") || strings.Contains(e.Error(), "set a Fallback") != (name == "no fallback")) {
						t.Errorf("Run returned %v", err)
					}
					s := run.Snapshot()
					if n := len(other.Messages()); n != tc.other || s.Skipped != tc.skipped || s.Failed > 2 {
						t.Errorf("%d letters elsewhere, skipped %d, failed %d; want %d, %d, at most 2", n, s.Skipped, s.Failed, tc.other, tc.skipped)
					}
					if !tc.fails && s.Settled != 2 {
						t.Errorf("settled %d, want 2", s.Settled)
					}
				})
			})
		}
	}
}

// BlockFor writes a letter that was refused again, with all headers, until the sink accepts it.
func TestRefusedDeadLetterIsWrittenAgainAfterThePausesOfItsFallback(t *testing.T) {
	for name, tc := range map[string]struct {
		refusal error
		writes  int // at most
	}{
		"no permission, which other headers do not help": {errors.Join(errors.New("no permission"), sink.ErrDestination), 30},
		"too large, in all forms":                        {errors.New("too large"), 120},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dlq, granted := sinkmemory.New(), time.Now().Add(time.Minute)
				calls := 0
				dlq.SetFault(func(context.Context, *keystrand.Message) error {
					calls++
					if time.Now().Before(granted) {
						return keystrand.Permanent(tc.refusal)
					}
					return nil
				})
				run, err := failAll(t, policy(pipeline.DeadLetter(dlq, pipeline.Fallback(pipeline.BlockFor(0, 0)))), keyed("k"))
				if err != nil {
					t.Fatal(err)
				}
				l := dlq.Messages()[0]
				if got := header(&l, pipeline.HeaderError); got != "boom" {
					t.Errorf("the letter has %s=%s", pipeline.HeaderError, got)
				}
				if s := run.Snapshot(); s.Failed != 1 || calls > tc.writes {
					t.Errorf("failed %d, %d Writes; want 1, and each form once for each pause", s.Failed, calls)
				}
			})
		})
	}
}

// A letter that is refused in all forms, again and again, does not fill the log.
func TestRefusedDeadLetterThatIsWrittenAgainLogsOncePerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines buffer
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(0)).
			OnFailure(pipeline.DeadLetter(limited(0), pipeline.Fallback(pipeline.BlockFor(0, 0)))).Logger(lines.logger()))
		time.Sleep(time.Hour)
		if n := strings.Count(lines.String(), "refused"); n > 70 {
			t.Errorf("%d lines in an hour about one letter, want one a minute", n)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// An output that is refused for good, with a policy that stops, is asked about once, and its key's later outputs are not
// written before it.
func TestRefusedOutputThatStopsThePipelineIsWrittenOnce(t *testing.T) {
	for _, name := range []string{"one lane", "two lanes", "dead letter"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("k"), keyed("k"), keyed("good"))
				out, writes, dlq := sinkmemory.New(), 0, sinkmemory.New()
				refuse := func(_ context.Context, m *keystrand.Message) error {
					if m.Offset == 0 {
						writes++
						return keystrand.Permanent(errors.Join(errors.New("no topic"), sink.ErrDestination))
					}
					return nil
				}
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil))
				switch name {
				case "two lanes":
					b.Key(func(m *keystrand.Message) (keystrand.Key, error) {
						return keystrand.KeysOf(string(m.Key), "also "+string(m.Key)), nil
					})
					fallthrough
				case "one lane":
					out.SetFault(refuse)
					b.TransformFunc(echo).To(out)
				default:
					dlq.SetFault(refuse)
					b.HandleFunc(func(context.Context, *keystrand.Message) error { return errBoom }).OnFailure(pipeline.DeadLetter(dlq))
				}
				run, began := start(t, b), time.Now()
				err := run.wait()
				if e, ok := errors.AsType[*pipeline.FailureError](err); !ok || e.Offset != 0 || !errors.Is(err, sink.ErrDestination) {
					t.Errorf("Run returned %v, want a FailureError of offset 0", err)
				}
				if d := time.Since(began); d > time.Second || writes != 1 {
					t.Errorf("took %v and %d Writes, want no wait and one Write", d, writes)
				}
				if n := len(out.Key("k")); n != 0 {
					t.Errorf("I1: %d outputs of the key are stored behind the refused one", n)
				}
				if s := run.Snapshot(); s.Failed > 2 {
					t.Errorf("failed %d, want each message once", s.Failed)
				}
			})
		})
	}
}

// Policies that name each other's sinks are asked until each sink has refused the letter. Without a Fallback there is one sink.
func TestRefusedDeadLetterIsSentToEachSinkOnce(t *testing.T) {
	calls := 0
	refusing := func() *sinkmemory.Sink {
		s := sinkmemory.New()
		s.SetFault(func(context.Context, *keystrand.Message) error {
			if calls++; calls > 100 {
				return nil // so that an endless round ends
			}
			return keystrand.Permanent(errors.New("refused"))
		})
		return s
	}
	for name, build := range map[string]func() pipeline.Policy{
		"two sinks that name each other": func() (first pipeline.Policy) {
			second := pipeline.DeadLetter(refusing(), pipeline.Fallback(func(f pipeline.Failure) pipeline.Action { return first(f) }))
			first = pipeline.DeadLetter(refusing(), pipeline.Fallback(second))
			return first
		},
		"one sink, DeadLetter called for each failure": func() (again pipeline.Policy) {
			s := refusing()
			again = func(f pipeline.Failure) pipeline.Action {
				return pipeline.DeadLetter(s, pipeline.Fallback(func(f pipeline.Failure) pipeline.Action { return again(f) }))(f)
			}
			return again
		},
		"another sink the second time, without Fallback": func() pipeline.Policy {
			first, second := refusing(), sinkmemory.New()
			return func(f pipeline.Failure) pipeline.Action {
				if strings.Contains(f.Err.Error(), "dead letter refused") {
					return pipeline.DeadLetter(second)(f)
				}
				return pipeline.DeadLetter(first)(f)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls = 0
				run, err := failAll(t, policy(build()), keyed("k"))
				if _, ok := errors.AsType[*pipeline.FailureError](err); !ok || calls > 12 {
					t.Errorf("Run returned %v after %d Writes, want a FailureError after each form for each sink", err, calls)
				}
				if s := run.Snapshot(); s.Failed != 1 || s.Settled != 0 || s.DeadLettered != 0 {
					t.Errorf("failed %d, settled %d, dead-lettered %d; want 1, 0, 0", s.Failed, s.Settled, s.DeadLettered)
				}
			})
		})
	}
}
