package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// lines returns the lines above Debug whose message begins with text.
func (b *buffer) lines(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.b.String()) {
		if !strings.Contains(line, "level=DEBUG") && strings.Contains(line, `msg="`+text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// wantLine checks that a log has n lines of a message, and that the first of them matches all patterns.
func (b *buffer) wantLine(t *testing.T, n int, text string, patterns ...string) {
	t.Helper()
	lines := b.lines(text)
	if len(lines) != n {
		t.Errorf("%d lines %q, want %d:\n%s", len(lines), text, n, strings.Join(b.lines(""), "\n"))
		return
	}
	for _, p := range patterns {
		if n > 0 && !regexp.MustCompile(p).MatchString(lines[0]) {
			t.Errorf("line does not match %q: %s", p, lines[0])
		}
	}
}

// 200 partitions that start and stop are a handful of lines.
func TestManyPartitionsAreFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 200)
		for p := range int32(200) {
			log.Append(p, keysOf(4, 1)...)
		}
		var out buffer
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(hold)).
			Limits(pipeline.Limits{Workers: 1000}).Timing(pipeline.Timing{DrainTimeout: 3 * time.Second}).Logger(out.logger()))
		time.Sleep(10 * time.Second)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		out.wantLine(t, 1, "partitions accepted", `n=200 partitions=posts/0-199`)
		out.wantLine(t, 1, "draining partitions", `n=200 partitions=posts/0-199 cause=".*stopping" handlers=200 outputs=0 up_to=\S+ waits_for="its handler" stream=posts partition=\d+ key=k0 offset=0 for=1\d`)
		out.wantLine(t, 1, "release of partitions is held up", `n=200 .*handlers=200 .*up_to=`)
		out.wantLine(t, 1, "partitions released", `n=200 partitions=posts/0-199 cause=".*stopping" settled=0 will_be_redelivered=800 took=3s`)
		out.wantLine(t, 1, "pipeline stopped", `settled=0 will_be_redelivered=800`)
		if n := len(out.lines("")); n != 5 {
			t.Errorf("%d lines, want 5:\n%s", n, strings.Join(out.lines(""), "\n"))
		}
	})
}

// An idle pipeline that stops has nothing to drain.
func TestIdlePartitionsStopWithoutADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 3)
		log.Append(1, keysOf(4, 2)...)
		var out buffer
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Handle(keystrand.HandlerFunc(nothing)).Logger(out.logger()))
		time.Sleep(time.Hour)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		out.wantLine(t, 1, "partitions accepted", `n=3 partitions=posts/0-2`)
		out.wantLine(t, 1, "partitions released", `n=3 .*settled=4 will_be_redelivered=0`)
		if n := len(out.lines("")); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, strings.Join(out.lines(""), "\n"))
		}
	})
}

// What holds up a release, for a revoked partition or a stop, is named after 1 s and then every 10 s.
func TestHeldUpReleaseNamesItsKey(t *testing.T) {
	slow := func(_ context.Context, m *keystrand.Message) error {
		if string(m.Key) == "slow" {
			time.Sleep(26 * time.Second)
		}
		return nil
	}
	for _, c := range []struct {
		name  string
		build func(b *pipeline.Builder)
		stop  bool
		waits string
		lines int // in 20 s
	}{
		{"handler, revoked", func(b *pipeline.Builder) { b.HandleFunc(slow) }, false, "its handler", 3},
		{"handler, stop", func(b *pipeline.Builder) { b.HandleFunc(slow) }, true, "its handler", 3},
		{"batch handler", func(b *pipeline.Builder) {
			b.HandleBatchFunc(func(ctx context.Context, ms []*keystrand.Message) error { return slow(ctx, ms[0]) })
		}, false, "its handler", 3},
		{"dead letter", func(b *pipeline.Builder) {
			dlq := sinkmemory.New()
			dlq.SetFault(func(context.Context, *keystrand.Message) error { return errBoom })
			b.HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) == "slow" {
					return errBoom
				}
				return nil
			}).OnFailure(pipeline.DeadLetter(dlq))
		}, false, "its dead letter", 1}, // a release waits 2 s for a sink that fails
		{"sink", func(b *pipeline.Builder) {
			out := sinkmemory.New()
			out.SetFault(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) == "slow" {
					return errBoom
				}
				return nil
			})
			b.TransformFunc(echo).To(out)
		}, true, "its sink", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 4)
				for p := range int32(4) {
					log.Append(p, keysOf(5, 5)...)
				}
				log.Append(2, keyed("slow"), keyed("slow"))
				var out buffer
				mem := memory.NewSource(memory.Config{}, log)
				b := pipeline.From(watch(t, mem, nil)).Timing(pipeline.Timing{DrainTimeout: time.Minute}).Logger(out.logger())
				c.build(b)
				run := start(t, b)
				time.Sleep(3100 * time.Millisecond) // between two ticks of the reporter
				if c.stop {
					run.cancel(nil)
				} else {
					mem.Revoke("posts", 2)
				}
				time.Sleep(900 * time.Millisecond)
				out.wantLine(t, 1, "draining partitions", "n=1 partitions=posts/2 ", "up_to=")
				out.wantLine(t, 0, "release of partitions is held up")
				time.Sleep(600 * time.Millisecond)
				out.wantLine(t, 1, "release of partitions is held up", "level=WARN", "n=1 partitions=posts/2 ",
					`waits_for="`+c.waits+`" stream=posts partition=2 key=slow offset=5 for=[34]`)
				time.Sleep(20 * time.Second)
				out.wantLine(t, c.lines, "release of partitions is held up")
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A partition whose handlers have ended waits for its last commit, and then for its release.
func TestHeldUpReleaseNamesTheStepOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 4)
		for p := range int32(4) {
			log.Append(p, keysOf(5, 5)...)
		}
		var out buffer
		src := memory.NewSource(memory.Config{BeforeCommit: func(_ context.Context, id source.ID, _ *commit.Progress) error {
			if id.Partition == 2 {
				time.Sleep(8 * time.Second)
			}
			return nil
		}}, log)
		run := start(t, pipeline.From(watch(t, releasedLate{src}, nil)).Handle(keystrand.HandlerFunc(nothing)).
			Timing(pipeline.Timing{CommitInterval: time.Hour, CommitTimeout: time.Minute, CloseTimeout: time.Hour}).Logger(out.logger()))
		time.Sleep(3100 * time.Millisecond) // between two ticks of the reporter
		run.cancel(nil)
		time.Sleep(5 * time.Second)
		out.wantLine(t, 1, "release of partitions is held up", "n=2 partitions=posts/2-3 ", `waits_for="the last commit" of=posts/2$`)
		time.Sleep(15 * time.Second)
		if lines := out.lines("release of partitions is held up"); len(lines) != 2 || !strings.HasSuffix(lines[1], `n=1 partitions=posts/3 handlers=0 outputs=0 up_to=8.85s waits_for="the source"`) {
			t.Errorf("lines %q, want a second one that waits for the source", lines)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// releasedLate is a source that releases partition 3 after half a minute.
type releasedLate struct{ source.Source }

type partitionReleasedLate struct{ source.Partition }

func (s releasedLate) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil || p.ID().Partition != 3 {
		return p, err
	}
	return partitionReleasedLate{p}, nil
}

func (p partitionReleasedLate) Release(ctx context.Context) error {
	time.Sleep(30 * time.Second)
	return p.Partition.Release(ctx)
}

// Blocked keys are logged every minute, with the oldest by name, until they are resumed.
func TestBlockedKeysAreLoggedEveryMinute(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy pipeline.Policy
		until  string
	}{
		{"Block", pipeline.Block, "until=Resume"},
		{"BlockFor", pipeline.BlockFor(time.Hour, time.Hour), "until=2000-01-01T01:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 2)
				log.Append(1, keyed("a"), keyed("bad-1"), keyed("bad-2"), keyed("bad-2"))
				var out buffer
				var mended atomic.Bool
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					HandleFunc(func(_ context.Context, m *keystrand.Message) error {
						if strings.HasPrefix(string(m.Key), "bad") && !mended.Load() {
							return errBoom
						}
						return nil
					}).OnFailure(c.policy).Logger(out.logger()))
				time.Sleep(3*time.Minute + time.Second)
				out.wantLine(t, 3, "keys are blocked", "level=WARN", `n=2 stream=posts partition=1 key=bad-[12] offset=[12] age=1m0s `+c.until)
				mended.Store(true)
				run.ResumeAll("posts", 1)
				time.Sleep(5 * time.Minute)
				out.wantLine(t, 3, "keys are blocked")
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A handler that does not return is logged every minute, with its key, as long as it runs.
func TestLongHandlersAreLoggedEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(1, keyed("a"), keyed("slow-1"), keyed("slow-2"), keyed("slow-2"))
		var out buffer
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				switch m.Offset {
				case 1:
					time.Sleep(4*time.Minute - time.Second)
				case 2:
					time.Sleep(2*time.Minute + 30*time.Second)
				}
				return nil
			}).Logger(out.logger()))
		time.Sleep(10 * time.Minute)
		out.wantLine(t, 3, "handlers have run for more than a minute", "level=WARN", "n=2 stream=posts partition=1 key=slow-[12] offset=[12] for=1m0s")
		if lines := out.lines("handlers have run for more than a minute"); !strings.Contains(lines[len(lines)-1], "n=1 stream=posts partition=1 key=slow-1 offset=1 for=3m0s") {
			t.Errorf("the last line is %s", lines[len(lines)-1])
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A lag that grows is logged every minute. One that goes up and down, stays, shrinks, is unknown, or grows because of a
// blocked key alone, is not.
func TestGrowingLagIsLoggedEveryMinute(t *testing.T) {
	second := func(n int) int { return n }
	for _, c := range []struct {
		name    string
		arrive  func(second int) (messages int)
		handle  func(context.Context, *keystrand.Message) error
		unknown bool
		want    bool
	}{
		{"grows", func(int) int { return 30 }, func(context.Context, *keystrand.Message) error { time.Sleep(time.Second); return nil }, false, true},
		{"grows fast", second, func(context.Context, *keystrand.Message) error { time.Sleep(time.Minute); return nil }, false, true},
		{"grows, end unknown", func(int) int { return 30 }, func(context.Context, *keystrand.Message) error { time.Sleep(time.Second); return nil }, true, false},
		{"keeps up", func(int) int { return 30 }, nothing, false, false},
		{"up and down", func(s int) int { return s % 7 }, func(context.Context, *keystrand.Message) error { time.Sleep(100 * time.Millisecond); return nil }, false, false},
		{"shrinks", func(s int) int {
			if s == 0 {
				return 5000
			}
			return 0
		}, func(context.Context, *keystrand.Message) error { time.Sleep(time.Second); return nil }, false, false},
		{"a key is blocked", func(int) int { return 30 }, func(_ context.Context, m *keystrand.Message) error {
			if m.Offset == 0 {
				return errBoom
			}
			return nil
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 2)
				var out buffer
				src := wrapping{watch(t, memory.NewSource(memory.Config{}, log), nil), func(p source.Partition) source.Partition {
					if c.unknown && p.ID().Partition == 1 {
						return unknownEndPartition{p}
					}
					return p
				}}
				run := start(t, pipeline.From(src).HandleFunc(c.handle).OnFailure(pipeline.Block).
					Limits(pipeline.Limits{Workers: 10}).Timing(pipeline.Timing{DrainTimeout: time.Millisecond}).Logger(out.logger()))
				key := 0
				for s := range 5*60 + 5 {
					for range c.arrive(s) {
						key++
						log.Append(1, keyed(fmt.Sprint("k", key)))
					}
					time.Sleep(time.Second)
				}
				want := 0
				if c.want {
					want = 4 // of 5 minutes: the first has none before
				}
				out.wantLine(t, want, "lag grows", "level=WARN", `lag=\d+ before=\d+ bottleneck=(workers|budget) stream=posts partition=1 of_partition=\d+`)
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Failing commits of many partitions are one line at first, one every minute, and one when they recover.
func TestFailingCommitsAreLoggedEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 50)
		for p := range int32(50) {
			log.Append(p, keysOf(2, 2)...)
		}
		var down atomic.Bool
		down.Store(true)
		var out buffer
		src := memory.NewSource(memory.Config{BeforeCommit: func(context.Context, source.ID, *commit.Progress) error {
			if down.Load() {
				return errors.New("store is down")
			}
			return nil
		}}, log)
		run := start(t, pipeline.From(watch(t, src, nil)).HandleFunc(nothing).Logger(out.logger()))
		time.Sleep(2*time.Minute + 30500*time.Millisecond)
		out.wantLine(t, 1, "commit failed; retrying", "level=WARN", `n=50 partitions=posts/0-49 error=".*store is down"`)
		out.wantLine(t, 2, "commits fail; a crash now redelivers", "level=WARN", `n=50 partitions=posts/0-49 error=".*store is down"`)
		down.Store(false)
		time.Sleep(3 * time.Minute)
		out.wantLine(t, 1, "commit recovered", "level=INFO", "n=50 partitions=posts/0-49")
		out.wantLine(t, 2, "commits fail; a crash now redelivers")
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// Messages that are settled and not committed at the end are counted as redelivered, and the log says why.
func TestUncommittedMessagesAreSaidToBeRedelivered(t *testing.T) {
	for _, c := range []struct {
		name   string
		commit func(ctx context.Context) error
		cause  string
	}{
		{"fails", func(context.Context) error { return errBoom }, "boom"},
		{"hangs until its ctx ends", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "canceled"},
	} {
		for _, before := range []time.Duration{100 * time.Millisecond, 1500 * time.Millisecond} { // before a commit of the committer, and during one
			t.Run(fmt.Sprint(c.name, " ", before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := memory.NewLog("posts", 20)
					var down atomic.Bool
					src := memory.NewSource(memory.Config{BeforeCommit: func(ctx context.Context, _ source.ID, _ *commit.Progress) error {
						if down.Load() {
							return c.commit(ctx)
						}
						return nil
					}}, log)
					var out buffer
					run := start(t, pipeline.From(watch(t, src, nil)).HandleFunc(nothing).Timing(pipeline.Timing{CommitTimeout: time.Hour}).Logger(out.logger()))
					for p := range int32(20) {
						log.Append(p, keysOf(3, 3)...)
					}
					time.Sleep(5050 * time.Millisecond)
					down.Store(true)
					for p := range int32(20) {
						log.Append(p, keysOf(2, 2)...)
					}
					time.Sleep(before)
					if err := run.stop(); err != nil {
						t.Fatal(err)
					}
					out.wantLine(t, 1, "last commit failed; messages", "level=ERROR", "n=20 partitions=posts/0-19 error=.*"+c.cause)
					if c.cause == "canceled" {
						out.wantLine(t, 0, "commit failed; retrying") // none is
					}
					out.wantLine(t, 1, "partitions released", "n=20 .*settled=100 will_be_redelivered=40")
					out.wantLine(t, 1, "pipeline stopped", "settled=100 will_be_redelivered=40")
				})
			})
		}
	}
}
