package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

var errBoom = errors.New("boom")

// failing returns a handler that fails for these offsets of partition 0.
func failing(offsets ...int64) keystrand.Handler {
	return keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
		if m.Partition == 0 && slices.Contains(offsets, m.Offset) {
			return errBoom
		}
		return nil
	})
}

func TestSkipSettlesTheFailedMessageAndCountsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 2)...)
		log.Close()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(3, 4)).OnFailure(pipeline.Skip))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); s.Settled != 10 || s.Skipped != 2 || s.Failed != 2 {
			t.Errorf("settled %d, skipped %d, failed %d; want 10, 2, 2", s.Settled, s.Skipped, s.Failed)
		}
	})
}

func TestBlockHoldsTheKeyUntilResumeAndResetsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("bad"), keyed("bad"), keyed("good"), keyed("good"))
		var healed atomic.Bool
		var mu sync.Mutex
		var attempts []int
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) != "bad" {
					return nil
				}
				mu.Lock()
				attempts = append(attempts, int(m.Attempt))
				mu.Unlock()
				if m.Attempt < 3 && !healed.Load() {
					return keystrand.RetryAfter(time.Second, nil)
				}
				if !healed.Load() {
					return errBoom
				}
				return nil
			})).OnFailure(pipeline.Block))
		time.Sleep(time.Hour)
		p := run.part(t, 0)
		if p.Frontier != 0 || p.Ahead != 2 || p.Parked != 2 || p.Oldest == nil || p.Oldest.Why != pipeline.WhyBlocked || p.Oldest.Key != "bad" || p.Oldest.Waiting != 2 || p.Oldest.Attempt != 3 {
			t.Errorf("snapshot %+v, oldest %+v: want the bad key blocked, the good one settled", p, p.Oldest)
		}
		if len(p.ParkedKeys) != 1 || p.ParkedKeys[0].Key != "bad" {
			t.Errorf("parked keys %+v", p.ParkedKeys)
		}
		if run.Resume("posts", 0, "good") || run.Resume("posts", 1, "bad") || run.Resume("other", 0, "bad") {
			t.Error("Resume reported true for a key that is not parked")
		}
		healed.Store(true)
		if !run.Resume("posts", 0, "bad") {
			t.Error("Resume reported false for a parked key")
		}
		time.Sleep(time.Second)
		if p := run.part(t, 0); p.Frontier != 4 {
			t.Errorf("frontier %d, want 4", p.Frontier)
		}
		if want := []int{1, 2, 3, 1, 1}; !slices.Equal(attempts, want) {
			t.Errorf("attempts %v, want %v", attempts, want)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Resume cannot name messages without a key; ResumeAll resumes them.
func TestResumeAllRetriesBlockedMessagesWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keystrand.Message{}, keystrand.Message{}, keyed("k"))
		var healed atomic.Bool
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
				if !healed.Load() {
					return errBoom
				}
				return nil
			})).OnFailure(pipeline.Block))
		synctest.Wait()
		healed.Store(true)
		if n := run.ResumeAll("posts", 0); n != 3 {
			t.Errorf("ResumeAll = %d, want 3", n)
		}
		synctest.Wait()
		if p := run.part(t, 0); p.Frontier != 3 {
			t.Errorf("frontier %d, want 3", p.Frontier)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func headers(m *keystrand.Message) string {
	var b strings.Builder
	for _, h := range m.Headers {
		fmt.Fprintf(&b, "%s=%s ", h.Key, h.Value)
	}
	return b.String()
}

func TestDeadLetterHasOriginAndErrorHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		m := keyed("k")
		m.Headers = append(make([]keystrand.Header, 0, 9), keystrand.Header{Key: "trace", Value: []byte("7")})
		m.Time = time.UnixMilli(1234)
		log.Append(0, keyed("a"), m)
		log.Close()
		dlq := sinkmemory.New()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				switch {
				case m.Offset == 0:
					return nil
				case m.Attempt == 1:
					return keystrand.RetryAfter(time.Second, nil)
				}
				return keystrand.Permanent(errBoom)
			})).OnFailure(pipeline.DeadLetter(dlq)))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		got := dlq.Messages()
		want := "trace=7 keystrand-stream=posts keystrand-partition=0 keystrand-offset=1 " +
			"keystrand-time=1234 keystrand-key=string keystrand-attempts=2 keystrand-first-error=retry after 1s keystrand-error=boom "
		if len(got) != 1 || headers(&got[0]) != want || string(got[0].Key) != "k" || string(got[0].Value) != "v" || got[0].Stream != "" {
			t.Errorf("dead letters %+v, want one of k with headers %s", got, want)
		}
		if s := run.Snapshot(); s.DeadLettered != 1 || s.Settled != 2 {
			t.Errorf("dead-lettered %d, settled %d", s.DeadLettered, s.Settled)
		}
	})
}

// The key continues only after the dead letter is durable. A failed write is retried after a pause.
func TestKeyContinuesOnlyAfterItsDeadLetterIsDurable(t *testing.T) { // seed 34: recorded before it is passed over
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("bad"), keyed("bad"), keyed("good"), keyed("good"))
		log.Close()
		dlq := sinkmemory.New()
		var writes atomic.Int32
		dlq.SetFault(func(context.Context, *keystrand.Message) error {
			if writes.Add(1) <= 5 {
				return errors.New("no leader")
			}
			return nil
		})
		began := time.Now()
		var after time.Duration
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 1 {
					if n := len(dlq.Messages()); n != 1 {
						t.Errorf("I1: the next message of the key starts with %d dead letters durable", n)
					}
					after = time.Since(began)
				}
				if m.Offset == 0 {
					return errBoom
				}
				return nil
			})).OnFailure(pipeline.DeadLetter(dlq)))
		time.Sleep(100 * time.Millisecond)
		p := run.part(t, 0)
		if p.Ahead != 2 || p.Frontier != 0 {
			t.Errorf("frontier %d, ahead %d: want the good key settled meanwhile", p.Frontier, p.Ahead)
		}
		if p.Accepted != p.Settled+p.Running+p.Ready+p.Parked+p.Sinking+p.Dropped {
			t.Errorf("I9: %+v", p)
		}
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if writes.Load() != 6 || after < time.Second {
			t.Errorf("%d writes, the key continued after %v: want 6, with pauses between", writes.Load(), after)
		}
		if n := len(dlq.Messages()); n != 1 {
			t.Errorf("%d dead letters", n)
		}
	})
}

// A dead letter of a message without a key must not resume the blocked key with the empty name.
func TestDeadLetterOfAnUnorderedMessageResumesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keystrand.Message{Key: []byte{}}, keystrand.Message{})
		var calls atomic.Int32
		dlq := sinkmemory.New()
		dlq.SetFault(func(context.Context, *keystrand.Message) error {
			if time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) < time.Minute {
				return errors.New("later")
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Key != nil {
					calls.Add(1)
				}
				return errBoom
			})).OnFailure(func(f pipeline.Failure) pipeline.Action {
			if f.Message.Key != nil {
				return pipeline.Block(f)
			}
			return pipeline.DeadLetter(dlq)(f)
		}))
		time.Sleep(time.Hour)
		if len(dlq.Messages()) != 1 {
			t.Fatalf("%d dead letters", len(dlq.Messages()))
		}
		if calls.Load() != 1 {
			t.Errorf("the blocked key was tried %d times, want once", calls.Load())
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// The key function is called once for each message, whatever its outcome.
func TestKeyFunctionIsCalledOnceAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		log.Close()
		var calls atomic.Int32
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(failing(2, 3)).OnFailure(pipeline.DeadLetter(sinkmemory.New())).
			Key(func(m *keystrand.Message) (keystrand.Key, error) {
				calls.Add(1)
				return keystrand.ByKey(m)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if calls.Load() != 10 {
			t.Errorf("called %d times for 10 messages", calls.Load())
		}
	})
}

func TestPanicOfThePolicyStopsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(5)).
			OnFailure(func(pipeline.Failure) pipeline.Action { panic("policy is broken") }))
		err := run.wait()
		f, ok := errors.AsType[*pipeline.FailureError](err)
		if !ok || f.Offset != 5 || !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "policy is broken") {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestGoexitOfThePolicyStopsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 3)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(5)).
			OnFailure(func(pipeline.Failure) pipeline.Action { runtime.Goexit(); panic("unreachable") }))
		err := run.wait()
		f, ok := errors.AsType[*pipeline.FailureError](err)
		if !ok || f.Offset != 5 || !errors.Is(err, errBoom) || !strings.Contains(err.Error(), "policy called runtime.Goexit") {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestFailureReportsWhetherItIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(2, 2)...)
		log.Close()
		var mu sync.Mutex
		permanent := map[int64]bool{}
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 1 {
					return keystrand.Permanent(errBoom)
				}
				return errBoom
			})).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				mu.Lock()
				defer mu.Unlock()
				permanent[f.Message.Offset] = f.Permanent
				return pipeline.Skip(f)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if permanent[0] || !permanent[1] {
			t.Errorf("permanent: %v", permanent)
		}
	})
}

func TestErrorOrPanicOfTheKeyFunctionFailsItsMessage(t *testing.T) {
	for _, policy := range []string{"stop", "skip", "dead letter"} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(10, 3)...)
				log.Close()
				dlq := sinkmemory.New()
				var handled atomic.Int32
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Key(func(m *keystrand.Message) (keystrand.Key, error) {
						switch m.Offset {
						case 3:
							return keystrand.Key{}, errBoom
						case 4:
							panic(errBoom)
						}
						return keystrand.ByKey(m)
					}).
					Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
						if m.Offset == 3 || m.Offset == 4 {
							t.Errorf("the handler was called for message %d", m.Offset)
						}
						handled.Add(1)
						return nil
					}))
				switch policy {
				case "skip":
					b.OnFailure(pipeline.Skip)
				case "dead letter":
					b.OnFailure(pipeline.DeadLetter(dlq))
				}
				run := start(t, b)
				err := run.wait()
				if policy == "stop" {
					if _, ok := errors.AsType[*pipeline.KeyError](err); !ok || !errors.Is(err, errBoom) {
						t.Errorf("Run = %v, want a KeyError", err)
					}
					if c := log.Group("").Committed(0); c != nil && (c.Frontier > 3 || c.Settled(3)) {
						t.Errorf("I3: committed %+v, which passes message 3", c)
					}
					return
				}
				if err != nil || handled.Load() != 8 {
					t.Errorf("Run = %v, %d handled", err, handled.Load())
				}
				if policy == "dead letter" && len(dlq.Messages()) != 2 {
					t.Errorf("%d dead letters", len(dlq.Messages()))
				}
			})
		})
	}
}

// A panic and a Goexit are ordinary failures for every shape of handler.
func TestPanicAndGoexitFailTheirMessage(t *testing.T) {
	end := func(how string) {
		if how == "panic" {
			panic(errBoom)
		}
		runtime.Goexit()
	}
	shapes := map[string]func(b *pipeline.Builder, how string) *pipeline.Builder{
		"handler": func(b *pipeline.Builder, how string) *pipeline.Builder {
			return b.Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 2 {
					end(how)
				}
				return nil
			}))
		},
		"batch": func(b *pipeline.Builder, how string) *pipeline.Builder {
			return b.HandleBatch(keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
				for _, m := range ms {
					if m.Offset == 2 {
						end(how)
					}
				}
				return nil
			}))
		},
		"transform": func(b *pipeline.Builder, how string) *pipeline.Builder {
			return b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(*m)
				if m.Offset == 2 {
					end(how)
				}
				return nil
			})).To(sinkmemory.New())
		},
	}
	for name, shape := range shapes {
		for _, how := range []string{"panic", "goexit"} {
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := memory.NewLog("posts", 1)
					log.Append(0, keysOf(10, 1)...)
					log.Close()
					var failure atomic.Value
					run := start(t, shape(pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)), how).
						OnFailure(func(f pipeline.Failure) pipeline.Action {
							failure.Store(fmt.Sprintf("%d", f.Message.Offset))
							e, panicked := errors.AsType[*keystrand.PanicError](f.Err)
							if how == "panic" && (!panicked || len(e.Stack) == 0 || !errors.Is(f.Err, errBoom)) || how == "goexit" && !errors.Is(f.Err, pipeline.ErrGoexit) {
								t.Errorf("failure = %v", f.Err)
							}
							return pipeline.Skip(f)
						}))
					if err := run.wait(); err != nil {
						t.Fatal(err)
					}
					if failure.Load() != "2" || run.Snapshot().Settled != 10 {
						t.Errorf("failure of %v, settled %d", failure.Load(), run.Snapshot().Settled)
					}
				})
			})
		}
	}
}

func TestCrashOnPanicEndsTheProcess(t *testing.T) {
	if os.Getenv("KEYSTRAND_TEST_CRASH") == "1" {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(3, 3)...)
		log.Close()
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).CrashOnPanic().OnFailure(pipeline.Skip).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { panic("the handler is broken") })).Build()
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Run(t.Context())
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashOnPanicEndsTheProcess$") //nolint:gosec // this very test
	cmd.Env = append(os.Environ(), "KEYSTRAND_TEST_CRASH=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the handler is broken") || !strings.Contains(string(out), "policy_test.go") {
		t.Errorf("err %v, output:\n%s", err, out)
	}
}

func TestMuxFailsMessagesOfAStreamWithoutHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		posts, likes := memory.NewLog("posts", 1), memory.NewLog("likes", 1)
		posts.Append(0, keysOf(3, 3)...)
		likes.Append(0, keysOf(2, 2)...)
		posts.Close()
		likes.Close()
		var n atomic.Int32
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, posts, likes), nil)).
			Handle(keystrand.Mux{"posts": keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { n.Add(1); return nil })}).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				if !f.Permanent || f.Message.Stream != "likes" || !strings.Contains(f.Err.Error(), `no handler for stream "likes"`) {
					t.Errorf("failure %+v", f)
				}
				return pipeline.Skip(f)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); n.Load() != 3 || s.Skipped != 2 {
			t.Errorf("%d handled, %d skipped", n.Load(), s.Skipped)
		}
	})
}
