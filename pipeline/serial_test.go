package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
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

// buffer is a bytes.Buffer that is safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.b.String(), text)
}

func (b *buffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// deaf returns a handler whose first call at offset 0 ignores the end of its ctx until let is closed.
func deaf(let <-chan struct{}, first *atomic.Bool) func(context.Context, *keystrand.Message) error {
	return func(_ context.Context, m *keystrand.Message) error {
		if m.Offset == 0 && !first.Swap(true) {
			<-let
		}
		return nil
	}
}

// I2, I7: a key stays running across epochs. The partition comes back to the same process while a handler of the
// earlier epoch ignores the end of its ctx.
func TestKeyWaitsForTheHandlerOfAnEarlierEpoch(t *testing.T) {
	for _, how := range []string{"lost", "revoked and abandoned"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(t)
				log := memory.NewLog("posts", 1)
				for _, key := range []string{"deaf", "other", "deaf", "other"} {
					l.put(0, log.Append(0, keyed(key))-1, key)
				}
				let := make(chan struct{})
				letGo := sync.OnceFunc(func() { close(let) })
				defer letGo() // lets a failed test end
				var first atomic.Bool
				mem := memory.NewSource(memory.Config{}, log)
				b := pipeline.From(watch(t, mem, l)).Handle(l.handler(deaf(let, &first))).
					Timing(pipeline.Timing{DrainTimeout: time.Second})
				if how != "lost" {
					b.AbandonStuck()
				}
				run := start(t, b)
				time.Sleep(time.Second) // lanes behind a stuck handler are taken over within 1 ms
				if how == "lost" {
					mem.Lose("posts", 0)
				} else {
					mem.Revoke("posts", 0)
				}
				time.Sleep(time.Minute)
				if e := log.Group("").Epoch(0); e != 2 {
					t.Fatalf("epoch %d, want 2: the partition has not been accepted again", e)
				}
				p := run.part(t, 0)
				if p.Oldest == nil || p.Oldest.Key != "deaf" || p.Oldest.Why != pipeline.WhyEarlier {
					t.Errorf("oldest = %+v, want the key whose earlier handler runs", p.Oldest)
				}
				if l.started(0, 2) != 0 {
					t.Error("I2: the next message of the key has started")
				}
				if p.Frontier != 0 {
					t.Errorf("frontier %d, want 0", p.Frontier)
				}
				letGo()
				time.Sleep(2 * time.Second)
				if p := run.part(t, 0); p.Frontier != 4 || p.Oldest != nil {
					t.Errorf("frontier %d, oldest %+v: want all settled", p.Frontier, p.Oldest)
				}
				err := run.stop()
				stuck, named := errors.AsType[*pipeline.StuckError](err)
				if how == "lost" && err != nil {
					t.Errorf("Run = %v", err)
				}
				if how != "lost" && (!named || len(stuck.Handlers) != 1 || stuck.Handlers[0].Key != "deaf" || stuck.Handlers[0].Partition.Epoch != 1) {
					t.Errorf("Run = %v, want the abandoned handler", err)
				}
			})
		})
	}
}

// I10: by default Run waits for a handler that ignores the end of its ctx, and logs it.
func TestRunWaitsForAHandlerThatIgnoresCancelAndLogsIt(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := memory.NewLog("posts", 1)
			log.Append(0, keyed("deaf"), keyed("other"))
			let := make(chan struct{})
			var first atomic.Bool
			var out buffer
			mem := memory.NewSource(memory.Config{}, log)
			run := start(t, pipeline.From(watch(t, mem, nil)).Handle(keystrand.HandlerFunc(deaf(let, &first))).
				Timing(pipeline.Timing{DrainTimeout: time.Second, StuckAfter: 3 * time.Second}).Logger(out.logger()))
			time.Sleep(time.Second)
			if lost {
				mem.Lose("posts", 0)
			}
			began := time.Now()
			go func() { time.Sleep(time.Hour); close(let) }()
			if err := run.stop(); err != nil {
				t.Errorf("Run = %v", err)
			}
			if d := time.Since(began); d < time.Hour {
				t.Errorf("Run returned after %v, before the handler did", d)
			}
			if !out.has("handlers have not returned after cancel") || !out.has("deaf") {
				t.Errorf("lost %v: the log does not name the key:\n%s", lost, out.b.String())
			}
		})
	}
}

// I10: with AbandonStuck the handler is abandoned and named, and the last commit does not include its message.
func TestAbandonedHandlerIsNamedAndOtherMessagesAreCommitted(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := memory.NewLog("posts", 1)
			log.Append(0, keyed("deaf"), keyed("other"), keyed("other"))
			let := make(chan struct{})
			var first atomic.Bool
			mem := memory.NewSource(memory.Config{}, log)
			run := start(t, pipeline.From(watch(t, mem, nil)).Handle(keystrand.HandlerFunc(deaf(let, &first))).
				Timing(pipeline.Timing{DrainTimeout: time.Second, StuckAfter: 3 * time.Second, CommitInterval: time.Hour}).AbandonStuck())
			time.Sleep(time.Second)
			if lost {
				mem.Lose("posts", 0)
				time.Sleep(time.Second)
			}
			began := time.Now()
			giveUp := time.AfterFunc(time.Hour, func() { close(let) })
			err := run.stop()
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("I10: lost %v: Run returned after %v, it waited for the handler", lost, d)
			}
			stuck, ok := errors.AsType[*pipeline.StuckError](err)
			if !ok || len(stuck.Handlers) != 1 || stuck.Handlers[0].Key != "deaf" || stuck.Handlers[0].Partition.Partition != 0 {
				t.Errorf("I10: lost %v: Run = %v, want a StuckError that names the key", lost, err)
			} else if e := stuck.Handlers[0].Partition.Epoch; e != 1 {
				t.Errorf("lost %v: the abandoned handler is of epoch %d, want 1", lost, e)
			}
			c := log.Group("").Committed(0)
			if c == nil || c.Frontier != 0 || !c.Settled(1) || !c.Settled(2) {
				t.Errorf("lost %v: committed %+v, want all but the stuck one", lost, c)
			}
			if giveUp.Stop() {
				close(let)
			}
		})
	}
}

// I8: messages that a handler of an earlier epoch emits after the release never reach the sink.
func TestOutputsAreDroppedWhenTheHandlerReturnsAfterTheRelease(t *testing.T) { // seed 18
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("deaf"))
		let := make(chan struct{})
		out := sinkmemory.New()
		mem := memory.NewSource(memory.Config{}, log)
		run := start(t, pipeline.From(watch(t, mem, nil)).Transform(keystrand.TransformerFunc(
			func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
				if m.Epoch == 1 {
					<-let
				}
				emit(keystrand.Message{Key: m.Key, Epoch: m.Epoch})
				return nil
			})).To(out))
		synctest.Wait()
		mem.Lose("posts", 0)
		time.Sleep(time.Minute)
		close(let)
		time.Sleep(time.Minute)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		got := out.Messages()
		if len(got) != 1 || got[0].Epoch != 2 {
			t.Errorf("the sink has %d messages (%+v), want only the one of epoch 2", len(got), got)
		}
		if s := run.Snapshot(); s.Settled != 1 {
			t.Errorf("settled %d, want 1: a late result must not count", s.Settled)
		}
	})
}

// I7, I11: no handler of the partition starts after the fence, whatever the cause of the release. Long turns are
// claimed one by one; of short turns a worker has claimed many when the first one blocks.
func TestNoHandlerStartsAfterTheFence(t *testing.T) {
	for _, why := range []string{"stop", "revoked", "lost", "fault of another partition"} {
		for _, turns := range []string{"long", "short"} {
			t.Run(why+" "+turns, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := memory.NewLog("posts", 2)
					failed := make(chan struct{})
					var leaving, long atomic.Bool
					var late atomic.Int32
					long.Store(turns == "long")
					mem := memory.NewSource(memory.Config{}, log)
					src := watch(t, mem, nil)
					run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
						if leaving.Load() && m.Partition == 0 && m.Epoch == 1 {
							late.Add(1)
						}
						if long.Load() {
							time.Sleep(100 * time.Millisecond)
						}
						if m.Partition == 1 {
							close(failed)
							return errors.New("boom") // Stop
						}
						return nil
					})).Limits(pipeline.Limits{Workers: 10}).Timing(pipeline.Timing{CommitInterval: time.Hour}))
					log.Append(0, keysOf(2000, 50)...)
					switch turns {
					case "long":
						time.Sleep(250 * time.Millisecond)
					default: // no time passes, so the executor does not take over lanes behind a slow turn
						synctest.Wait()
						long.Store(true)
						log.Append(0, keysOf(500, 500)...)
						synctest.Wait()
					}
					switch why {
					case "stop":
						run.cancel(nil)
					case "revoked":
						mem.Revoke("posts", 0)
					case "lost":
						mem.Lose("posts", 0)
					default:
						log.Append(1, keyed("bad"))
						<-failed
					}
					synctest.Wait() // Fence has returned
					leaving.Store(true)
					time.Sleep(time.Second)
					if n := late.Load(); n != 0 {
						t.Fatalf("I7: %d handlers started after the fence", n)
					}
					if !src.epochs(0)[0].isReleased() {
						t.Error("I7: the partition is not released")
					}
					err := run.stop()
					if (why == "fault of another partition") != (err != nil) {
						t.Errorf("Run = %v", err)
					}
				})
			})
		}
	}
}

// atLine is a slog.Handler that calls then for each line that begins with a text, on the goroutine that logs it.
type atLine struct {
	slog.Handler
	begins string
	then   func()
}

func (h atLine) Enabled(context.Context, slog.Level) bool { return true }
func (h atLine) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h atLine) WithGroup(string) slog.Handler            { return h }

func (h atLine) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.begins) {
		h.then()
	}
	return nil
}

// I7: Fence drops waiting items a piece at a time. Workers that become free meanwhile must not claim the remaining
// ones, which would start after the fence. The ctx of a lost partition ends right after the fence; each worker may be
// entering one handler at that moment.
func TestWorkersDoNotClaimLanesThatAreBeingFenced(t *testing.T) {
	const workers, waiting = 4, 10_000
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			var block atomic.Bool
			var late atomic.Int32
			free := make(chan struct{})
			freeAll := sync.OnceFunc(func() { close(free) })
			defer freeAll()
			log := memory.NewLog("posts", 1)
			mem := memory.NewSource(memory.Config{}, log)
			run := start(t, pipeline.From(watch(t, mem, nil)).
				Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
					if m.Epoch > 1 {
						return nil
					}
					if ctx.Err() != nil {
						late.Add(1)
					}
					if block.Load() {
						<-free
					}
					for range 100 { // still a short turn in virtual time
						runtime.Gosched()
					}
					return nil
				})).
				Limits(pipeline.Limits{Workers: workers, FetchMessages: waiting, InFlight: 2 * waiting}).
				Logger(slog.New(atLine{begins: "releasing partition", then: freeAll})))
			log.Append(0, keysOf(1000, 50)...) // so that the executor knows that turns are short
			synctest.Wait()
			block.Store(true)
			log.Append(0, keysOf(waiting, waiting)...)
			synctest.Wait()
			if p := run.part(t, 0); p.Ready < waiting/2 {
				t.Fatalf("%d messages are ready, want nearly all of %d: the test proves nothing", p.Ready, waiting)
			}
			mem.Lose("posts", 0)
			synctest.Wait()
			select {
			case <-free:
			default:
				t.Fatal("the pipeline did not log the release, so no worker became free: the test proves nothing")
			}
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
			if n := late.Load(); n > workers {
				t.Errorf("I7: %d handlers started after the fence", n)
			}
		})
	}
}
