package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// plainError is an error whose method dereferences its receiver.
type plainError struct{ text string }

func (e *plainError) Error() string { return e.text }

// sinkFunc is a sink whose writers call it.
type sinkFunc func(ctx context.Context, ms []keystrand.Message) error

func (f sinkFunc) Open() (sink.Writer, error) { return f, nil }
func (f sinkFunc) Close() error               { return nil }

func (f sinkFunc) Write(ctx context.Context, ms []keystrand.Message) error { return f(ctx, ms) }

// A nil pointer in an error is not a nil error, and its methods panic. It is an ordinary failure, wherever it comes
// from.
func TestNilPointerInAnErrorIsAFailure(t *testing.T) {
	var plain *plainError
	var batch *keystrand.BatchError
	var partial *sink.PartialError
	always := func(err error) keystrand.Handler {
		return keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return err })
	}
	for name, stage := range map[string]func(b *pipeline.Builder){
		"handler":              func(b *pipeline.Builder) { b.Handle(always(plain)) },
		"handler, batch error": func(b *pipeline.Builder) { b.Handle(always(batch)) },
		"wrapped":              func(b *pipeline.Builder) { b.Handle(always(fmt.Errorf("save: %w", batch))) },
		"batch": func(b *pipeline.Builder) {
			b.HandleBatch(keystrand.BatchHandlerFunc(func(context.Context, []*keystrand.Message) error { return batch }))
		},
		"key": func(b *pipeline.Builder) {
			b.Handle(keystrand.HandlerFunc(nothing)).Key(func(*keystrand.Message) (keystrand.Key, error) { return keystrand.Key{}, plain })
		},
		"sink": func(b *pipeline.Builder) {
			b.Transform(keystrand.TransformerFunc(echo)).To(sinkFunc(func(context.Context, []keystrand.Message) error { return partial }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(6, 2)...)
				dlq := sinkmemory.New()
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).OnFailure(pipeline.DeadLetter(dlq)).
					Timing(pipeline.Timing{DrainTimeout: time.Second})
				stage(b)
				run := start(t, b)
				time.Sleep(time.Minute)
				p := run.part(t, 0)
				switch {
				case name == "sink": // the output is written again and again
					if p.Frontier != 0 || p.Sinking != 6 {
						t.Errorf("I3: frontier %d, %d sinking; want 0 and 6", p.Frontier, p.Sinking)
					}
				case p.Frontier != 6 || len(dlq.Messages()) != 6:
					t.Errorf("frontier %d, %d dead letters: want 6 and 6", p.Frontier, len(dlq.Messages()))
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A callback that calls runtime.Goexit must stop the pipeline with an error, not leave it hanging silently.
func TestGoexitOutsideTheHandlerStopsThePipeline(t *testing.T) {
	for name, stage := range map[string]func(b *pipeline.Builder){
		"key": func(b *pipeline.Builder) {
			b.Handle(keystrand.HandlerFunc(nothing)).Key(func(m *keystrand.Message) (keystrand.Key, error) {
				if m.Offset == 3 {
					runtime.Goexit()
				}
				return keystrand.ByKey(m)
			})
		},
		"sink": func(b *pipeline.Builder) {
			b.Transform(keystrand.TransformerFunc(echo)).To(sinkFunc(func(context.Context, []keystrand.Message) error {
				runtime.Goexit()
				return nil
			}))
		},
		"dead letters": func(b *pipeline.Builder) {
			b.Handle(failing(3)).OnFailure(pipeline.DeadLetter(sinkFunc(func(context.Context, []keystrand.Message) error {
				runtime.Goexit()
				return nil
			})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(6, 2)...)
				log.Close()
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Timing(pipeline.Timing{DrainTimeout: time.Second})
				stage(b)
				run := start(t, b)
				if err := run.wait(); err == nil || errors.Is(err, errHung) || !strings.Contains(err.Error(), "runtime.Goexit") {
					t.Errorf("Run = %v, want it to name the caller of Goexit", err)
				}
				if c := log.Group("").Committed(0); c != nil && c.Frontier > 3 {
					t.Errorf("I3: committed %+v", c)
				}
			})
		})
	}
}

// I11 for sinks: a cancelled Write has refused nothing, whatever its error says.
func TestRefusalByACancelledWriteIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(3, 3)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(echo)).
			To(sinkFunc(func(ctx context.Context, _ []keystrand.Message) error {
				<-ctx.Done()
				return keystrand.Permanent(ctx.Err())
			})).
			OnFailure(pipeline.Skip).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Minute)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); s.Failed != 0 || s.Skipped != 0 {
			t.Errorf("I11: %d failed, %d skipped because the pipeline stops", s.Failed, s.Skipped)
		}
		if c := log.Group("").Committed(0); c != nil && c.Frontier > 0 {
			t.Errorf("I3: committed %+v, nothing was written", c)
		}
	})
}

// If a PartialError covers only some messages, the others are written again.
func TestMessagesWithoutAResultFromTheSinkAreWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		log.Close()
		var calls, failures int
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				emit(keystrand.Message{Key: m.Key, Value: []byte("1")})
				emit(keystrand.Message{Key: m.Key, Value: []byte("2")})
				return nil
			})).
			To(sinkFunc(func(_ context.Context, _ []keystrand.Message) error {
				if calls++; calls == 1 {
					return &sink.PartialError{Errs: []error{keystrand.Permanent(errBoom)}}
				}
				return nil
			})).
			OnFailure(func(f pipeline.Failure) pipeline.Action { failures++; return pipeline.Skip(f) }))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if failures != 0 || calls != 2 {
			t.Errorf("I3: %d failures, %d writes: the message failed although the sink did not report on its second output", failures, calls)
		}
	})
}

// Only outputs that are not durable are written again, in their order.
func TestOnlyOutputsThatAreNotDurableAreWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("lane"), keyed("lane"))
		log.Close()
		out := sinkmemory.New()
		tries := 0
		out.SetFault(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Value) == "a1 of 0" {
				if tries++; tries < 4 {
					return errBoom
				}
			}
			return nil
		})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				for _, v := range []string{"a1", "b1", "a2"} {
					emit(keystrand.Message{Key: []byte(v[:1]), Value: fmt.Appendf(nil, "%s of %d", v, m.Offset)})
				}
				return nil
			})).To(out))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range out.Messages() {
			got = append(got, string(m.Value))
		}
		if want := "b1 of 0,a1 of 0,a2 of 0,a1 of 1,b1 of 1,a2 of 1"; strings.Join(got, ",") != want || tries != 4 {
			t.Errorf("stored %v after %d tries, want %s after 4", got, tries, want)
		}
	})
}

// twice is a source that offers its partition again before it is released.
type twice struct {
	source.Source
	first source.Partition
	n     int
}

func (s *twice) Accept(ctx context.Context) (source.Partition, error) {
	if s.n++; s.n == 2 {
		time.Sleep(time.Second)
		return again{s.first}, nil
	}
	p, err := s.Source.Accept(ctx)
	s.first = p
	return p, err
}

type again struct{ source.Partition }

func (again) Leaving() <-chan source.Leave  { return nil }
func (again) Release(context.Context) error { return nil }

// I2: with two concurrent ownerships a key could run twice at once. Run reports a source that breaks its contract in
// this way.
func TestPipelineStopsWhenAPartitionIsAcceptedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(100, 10)...)
		run := start(t, pipeline.From(&twice{Source: memory.NewSource(memory.Config{}, log)}).Handle(keystrand.HandlerFunc(nothing)))
		if err := run.wait(); err == nil || errors.Is(err, errHung) || !strings.Contains(err.Error(), "posts/0") {
			t.Errorf("Run = %v, want it to name the partition", err)
		}
		if c := log.Group("").Committed(0); c == nil || c.Frontier != 100 {
			t.Errorf("committed %+v, want everything settled by the first ownership", c)
		}
	})
}

// I8, I10: the last commit hangs while the source revokes the partition and then reports it as lost. Nobody may wait
// for that commit any longer.
func TestLastCommitEndsWhenItsPartitionIsRevokedAndThenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(3, 3)...)
		mem := memory.NewSource(memory.Config{
			LeaveTimeout: 5 * time.Second,
			BeforeCommit: func(ctx context.Context, _ source.ID, _ *commit.Progress) error { <-ctx.Done(); return ctx.Err() },
		}, log)
		src := watch(t, mem, nil)
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)).
			Timing(pipeline.Timing{CommitTimeout: time.Hour, CommitInterval: 24 * time.Hour}))
		time.Sleep(time.Minute)
		run.cancel(nil)
		time.Sleep(time.Second) // the last commit is running
		began := time.Now()
		mem.Revoke("posts", 0)
		if err := run.wait(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("I10: Run returned %v after the partition was revoked, want at most 5 s: it waited for a commit that cannot be stored", d)
		}
	})
}

// A partition is released only after a Write that ignores the end of its ctx has returned, even with AbandonStuck. The
// log reports the wait.
func TestReleaseWaitsForAWriteThatIgnoresItsContextAndLogsIt(t *testing.T) {
	for _, c := range []struct {
		name          string
		abandon, lost bool
	}{{"waits", false, false}, {"abandons handlers", true, false}, {"lost", false, true}, {"lost, abandons handlers", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("k"))
				let := make(chan struct{})
				var out buffer
				var writing atomic.Bool
				mem := memory.NewSource(memory.Config{}, log)
				src := watch(t, mem, nil)
				b := pipeline.From(src).Transform(keystrand.TransformerFunc(echo)).
					To(sinkFunc(func(context.Context, []keystrand.Message) error {
						writing.Store(true)
						defer writing.Store(false)
						<-let
						return nil
					})).
					Timing(pipeline.Timing{DrainTimeout: time.Second, StuckAfter: time.Second}).Logger(out.logger())
				if c.abandon {
					b.AbandonStuck()
				}
				run := start(t, b)
				time.Sleep(time.Second)
				if c.lost {
					mem.Lose("posts", 0)
				}
				run.cancel(nil)
				time.Sleep(time.Minute)
				if !c.lost && src.epochs(0)[0].isReleased() && writing.Load() {
					t.Error("I7: partition released while its outputs are being written")
				}
				if !out.has("sink write has not returned") {
					t.Errorf("the log does not report the Write:\n%s", out.b.String())
				}
				close(let)
				if err := run.wait(); err != nil {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}

// A policy returns after Run has: its decision must not open a writer.
func TestPolicyOpensNoDeadLetterSinkWhenItReturnsAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		let := make(chan struct{})
		var opened atomic.Int32
		toDead := pipeline.DeadLetter(&counted{Sink: sinkmemory.New(), opened: &opened})
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(0)).
			OnFailure(func(f pipeline.Failure) pipeline.Action { <-let; return toDead(f) }).
			AbandonStuck().Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Second)
		if _, stuck := errors.AsType[*pipeline.StuckError](run.stop()); !stuck {
			t.Error("Run did not name the abandoned turn")
		}
		close(let)
		synctest.Wait()
		if n := opened.Load(); n != 0 {
			t.Errorf("I10: %d writers opened after Run returned, want none: nobody closes them", n)
		}
	})
}

// A dead letter has a short error text, so that a sink that accepted the message accepts the dead letter too.
func TestDeadLetterCutsALongError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		log.Close()
		dlq := sinkmemory.New()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
				return errors.New("refused: " + strings.Repeat("ä", 1<<20))
			})).OnFailure(pipeline.DeadLetter(dlq)))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		why, _ := dlq.Messages()[0].Header(pipeline.HeaderError)
		if len(why) > 2048 || !strings.HasPrefix(string(why), "refused: ää") || strings.ToValidUTF8(string(why), "") != string(why) {
			t.Errorf("%s has %d bytes, ends with %q", pipeline.HeaderError, len(why), why[max(0, len(why)-20):])
		}
	})
}

// A dead letter that is refused and then skipped does not count as dead-lettered.
func TestSkippedDeadLetterDoesNotCountAsDeadLettered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		log.Close()
		toDead := pipeline.DeadLetter(sinkFunc(func(context.Context, []keystrand.Message) error { return keystrand.Permanent(errors.New("too large")) }))
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(failing(0)).
			OnFailure(func(f pipeline.Failure) pipeline.Action {
				if f.Permanent {
					return pipeline.Skip(f)
				}
				return toDead(f)
			}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); s.Settled != 1 || s.Skipped != 1 || s.DeadLettered != 0 {
			t.Errorf("I9: settled %d, skipped %d, dead-lettered %d; want 1, 1, 0", s.Settled, s.Skipped, s.DeadLettered)
		}
	})
}

// noWriter is a sink whose Open returns neither a writer nor an error.
type noWriter struct{ sink.Sink }

func (noWriter) Open() (sink.Writer, error) { return nil, nil } //nolint:nilnil // the case under test

func TestSinkThatOpensNoWriterIsAnError(t *testing.T) {
	for name, stage := range map[string]func(b *pipeline.Builder){
		"outputs":      func(b *pipeline.Builder) { b.Transform(keystrand.TransformerFunc(echo)).To(noWriter{}) },
		"dead letters": func(b *pipeline.Builder) { b.Handle(failing(0)).OnFailure(pipeline.DeadLetter(noWriter{})) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keyed("k"))
				log.Close()
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil))
				stage(b)
				run := start(t, b)
				if err := run.wait(); err == nil || !strings.Contains(err.Error(), "no writer") {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}

// I9: outputs that are cut because their partition is released count as dropped, not as sinking.
func TestOutputsThatAreCutCountAsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keysOf(10, 10)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if m.Offset == 0 {
					time.Sleep(time.Hour) // ignores the end of its ctx, so the partition is not released
				}
				emit(*m)
				return nil
			})).
			To(sinkFunc(func(ctx context.Context, _ []keystrand.Message) error { <-ctx.Done(); return ctx.Err() })).
			Limits(pipeline.Limits{Writers: 2}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Minute)
		if p := run.part(t, 0); p.Sinking != 9 || p.Dropped != 0 {
			t.Errorf("I9: %d sinking, %d dropped; want 9 and 0", p.Sinking, p.Dropped)
		}
		run.cancel(nil)
		time.Sleep(time.Minute)
		s := run.Snapshot()
		conserve(t, s)
		if p := s.Partitions[0]; p.Sinking != 0 || p.Dropped != 9 {
			t.Errorf("I9: %d sinking, %d dropped after the drain; want 0 and 9", p.Sinking, p.Dropped)
		}
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
	})
}

// I1, I2, I3, I9: operators pause, resume and set the workers to one while partitions are revoked and lost.
func TestOperatorCallsAreSafeWhilePartitionsAreReleased(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := random(t, seed)
				d := &dice{r: r}
				l := newLedger(t)
				log := memory.NewLog("posts", 3)
				fill(l, log, 3, 300, 12, r)
				log.Close()
				mem := memory.NewSource(memory.Config{}, log)
				run := start(t, pipeline.From(watch(t, mem, l)).
					Handle(l.handler(func(ctx context.Context, _ *keystrand.Message) error {
						select {
						case <-time.After(time.Duration(d.roll(30)) * time.Millisecond):
						case <-ctx.Done():
							return ctx.Err()
						}
						switch d.roll(10) {
						case 0:
							return keystrand.RetryAfter(time.Duration(d.roll(200))*time.Millisecond, nil)
						case 1:
							return errBoom
						}
						return nil
					})).
					OnFailure(pipeline.Block).Limits(pipeline.Limits{Workers: 9, FetchMessages: 20}).
					Timing(pipeline.Timing{DrainTimeout: 40 * time.Millisecond, CommitInterval: 100 * time.Millisecond}))
				var meddling sync.WaitGroup
				for range 3 {
					meddling.Go(func() {
						for range 150 {
							p := int32(d.roll(3))
							switch d.roll(8) {
							case 0:
								mem.Revoke("posts", p)
							case 1:
								mem.Lose("posts", p)
							case 2:
								run.PausePartition("posts", p)
							case 3:
								_ = run.SetWorkers(1)
							case 4:
								_ = run.SetWorkers(1 + d.roll(12))
							case 5:
								run.Resume("posts", p, fmt.Sprintf("k%d", d.roll(12)))
							default:
								run.ResumePartition("posts", p)
								run.ResumeAll("posts", p)
							}
							conserve(t, run.Snapshot())
							time.Sleep(time.Duration(d.roll(20)) * time.Millisecond)
						}
					})
				}
				meddling.Wait()
				_ = run.SetWorkers(4)
				for p := range int32(3) {
					run.ResumePartition("posts", p)
				}
				for range 10_000 {
					select {
					case <-run.over:
					default:
						for p := range int32(3) {
							run.ResumeAll("posts", p)
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
				if err := run.wait(); err != nil {
					t.Fatal(err)
				}
				l.checkAllSettled()
			})
		})
	}
}

// A key function or a Fetch hangs and so delays the release of its partition. Everything settled is still committed,
// other partitions are released, and the log reports the wait.
func TestSettledMessagesAreCommittedWhenTheKeyFunctionHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(50, 7)...)
		log.Append(1, keysOf(20, 7)...)
		hang := make(chan struct{})
		var out buffer
		src := watch(t, memory.NewSource(memory.Config{}, log), nil)
		run := start(t, pipeline.From(src).
			Handle(keystrand.HandlerFunc(nothing)).
			Key(func(m *keystrand.Message) (keystrand.Key, error) {
				if m.Partition == 0 && m.Offset == 40 {
					<-hang
				}
				return keystrand.ByKey(m)
			}).
			Limits(pipeline.Limits{FetchMessages: 10}).
			Timing(pipeline.Timing{CommitInterval: time.Hour, DrainTimeout: time.Second, StuckAfter: time.Second}).
			Logger(out.logger()))
		time.Sleep(time.Minute)
		run.cancel(nil)
		time.Sleep(time.Minute)
		for n, want := range []int64{40, 20} {
			if c := log.Group("").Committed(int32(n)); c == nil || c.Frontier != want {
				t.Errorf("I3: committed %+v of partition %d while a key function hangs, want frontier %d", c, n, want)
			}
		}
		if !out.has("the key function") {
			t.Error("the log does not report the wait")
		}
		if src.epochs(0)[0].isReleased() || !src.epochs(1)[0].isReleased() {
			t.Error("want partition 1 released, and partition 0 not before its key function has returned")
		}
		wantStuck(t, run, "the key function, or Fetch or Leaving of the source for posts/0#1")
		close(hang)
		synctest.Wait()
		if !src.epochs(0)[0].isReleased() {
			t.Error("partition 0 not released after its key function has returned")
		}
	})
}
