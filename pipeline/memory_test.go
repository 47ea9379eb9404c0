package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// I5: messages and bytes in flight stay within the budget and one batch for each partition. Waiting, parked and sinking
// messages count.
func TestInFlightStaysWithinTheBudgetAndABatchAPartition(t *testing.T) {
	const partitions, batch, limit, bytes = 4, 10, 100, 40_000
	for _, how := range []string{"slow", "parked", "sinking"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// The first partition may use the whole budget before the others are accepted.
				log := memory.NewLog("posts", partitions)
				for p := range int32(partitions) {
					for i := range 500 {
						log.Append(p, keystrand.Message{Key: fmt.Appendf(nil, "k%d", i), Value: make([]byte, 100+i)})
					}
				}
				out := sinkmemory.New()
				out.SetFault(func(ctx context.Context, _ *keystrand.Message) error { <-ctx.Done(); return ctx.Err() })
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					Limits(pipeline.Limits{InFlight: limit, InFlightBytes: bytes, FetchMessages: batch, KeyShare: 1000})
				switch how {
				case "slow":
					b.Handle(keystrand.HandlerFunc(func(ctx context.Context, _ *keystrand.Message) error { <-ctx.Done(); return ctx.Err() }))
				case "parked":
					b.Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return keystrand.RetryAfter(time.Hour, nil) }))
				default:
					b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
						emit(*m)
						return nil
					})).To(out)
				}
				b.Timing(pipeline.Timing{DrainTimeout: time.Second})
				run := start(t, b)
				time.Sleep(time.Minute)
				s := run.Snapshot()
				if s.MostInFlight > limit+partitions*batch || s.MostBytes > bytes+partitions*batch*600 {
					t.Errorf("I5: most in flight: %d messages, %d bytes", s.MostInFlight, s.MostBytes)
				}
				if s.InFlight < limit/2 || s.Bottleneck != pipeline.BottleneckBudget {
					t.Errorf("%d in flight, bottleneck %v: want a full budget, reported as the bottleneck", s.InFlight, s.Bottleneck)
				}
				for _, p := range s.Partitions {
					if p.Waits != pipeline.WaitBudget {
						t.Errorf("%v waits for %v, want the budget", p.ID, p.Waits)
					}
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// blob is a Native of a number of bytes, as a row of a binlog is.
type blob int

func (n blob) AppendValue(dst []byte) ([]byte, error) { return append(dst, make([]byte, n)...), nil }
func (n blob) Size() int                              { return int(n) }

// I5: a row that rides in Native, without a Value, counts with its size.
func TestRowsInNativeCountInTheBudget(t *testing.T) {
	const partitions, size, limit = 2, 10_000, 100_000
	for _, how := range []string{"with a store", "without a store"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", partitions)
				for p := range int32(partitions) {
					for i := range 200 {
						log.Append(p, keystrand.Message{Key: fmt.Appendf(nil, "%03d", i), Native: blob(size - 3)})
					}
				}
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					HandleFunc(func(ctx context.Context, _ *keystrand.Message) error { <-ctx.Done(); return ctx.Err() }).
					Limits(pipeline.Limits{InFlightBytes: limit, FetchBytes: size, KeyShare: 1000}).
					Timing(pipeline.Timing{DrainTimeout: time.Second})
				if how == "with a store" {
					b.Divert(spill.New())
				}
				run := start(t, b)
				time.Sleep(time.Minute)
				s := run.Snapshot()
				if s.MostBytes > limit+partitions*size || s.InFlight < limit/size/2 || s.InFlight > limit/size+partitions {
					t.Errorf("I5: %d rows of %d bytes in flight, at most %d bytes; the limit is %d", s.InFlight, size, s.MostBytes, limit)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// I5: a message larger than the byte budget is admitted alone and counted; nothing hangs.
func TestMessageLargerThanTheBudgetIsAdmittedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		for i := range 40 {
			size := 100
			if i%10 == 5 {
				size = 5000
			}
			log.Append(int32(i%2), keystrand.Message{Key: fmt.Appendf(nil, "k%d", i), Value: make([]byte, size)})
		}
		log.Close()
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { time.Sleep(time.Millisecond); return nil })).
			Limits(pipeline.Limits{InFlightBytes: 1000}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if s := run.Snapshot(); s.Settled != 40 || s.Oversized != 4 || s.MostBytes > 1000+2*5010 {
			t.Errorf("I5: settled %d, oversized %d, most bytes %d; want 40, 4 and at most 11,020", s.Settled, s.Oversized, s.MostBytes)
		}
	})
}

// I5, I6: a key that has used its share pauses only its own partition.
func TestKeyBeyondItsSharePausesOnlyItsPartition(t *testing.T) { // seeds 33, 40
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		log.Append(0, keysOf(500, 1)...)
		log.Append(1, keysOf(500, 500)...)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
				if m.Partition == 0 {
					<-ctx.Done()
				}
				return ctx.Err()
			})).Limits(pipeline.Limits{KeyShare: 50, FetchMessages: 20}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		time.Sleep(time.Second) // lanes behind a stuck handler are taken over within 1 ms
		hot, other := run.part(t, 0), run.part(t, 1)
		if hot.Waits != pipeline.WaitKey || hot.Accepted > 50+20 || len(hot.HotKeys) != 1 || hot.HotKeys[0].Key != "k0" || hot.HotKeys[0].Waiting != int(hot.Accepted) {
			t.Errorf("I6: hot partition: %+v", hot)
		}
		if other.Frontier != 500 || other.Waits != pipeline.WaitSource {
			t.Errorf("I6: the other: frontier %d, waits for %v", other.Frontier, other.Waits)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// I6: one key is stuck, and all others continue at the same speed.
func TestStuckKeyDelaysOnlyItself(t *testing.T) { // seed 33
	elapsed := func(t *testing.T, stuck bool) (d time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			log := memory.NewLog("posts", 2)
			for p := range int32(2) {
				log.Append(p, keysOf(2000, 100)...)
			}
			began := time.Now()
			var settled atomic.Int64
			run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
				Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
					if stuck && m.Partition == 0 && string(m.Key) == "k7" {
						<-ctx.Done()
						return ctx.Err()
					}
					time.Sleep(10 * time.Millisecond)
					settled.Add(1)
					return nil
				})).Limits(pipeline.Limits{Workers: 21}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
			want := int64(4000)
			if stuck {
				want -= 20
			}
			for settled.Load() < want && time.Since(began) < time.Hour {
				time.Sleep(time.Millisecond)
			}
			d = time.Since(began)
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
		})
		return d
	}
	with, without := elapsed(t, true), elapsed(t, false)
	if with > without*21/20+20*time.Millisecond { // the stuck key occupies one of 21 workers
		t.Errorf("I6: the others took %v with a stuck key, %v without", with, without)
	}
}

// Messages that wait long must not keep the source's chunk in memory: parked ones, those behind a parked one, and those
// behind many others. Otherwise the budget, which counts their bytes, would not limit memory.
func TestOutputsThatWaitKeepNoFetchBuffers(t *testing.T) {
	const n, chunk = 1000, 64 << 10
	for _, c := range []struct {
		name  string
		lanes int
		fails time.Duration // when the first Write fails; late: after all messages have left their turns
	}{
		{"1 lane, fails at once", 1, 0},
		{"2 lanes, fails at once", 2, 0},
		{"1 lane, fails late", 1, time.Second},
		{"2 lanes, fails late", 2, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.Generate("posts", 1, n, func(_ int32, offset int64, m *keystrand.Message) {
					b := make([]byte, chunk)
					copy(b, fmt.Sprintf("%050d", offset))
					m.Key, m.Value = b[:50:50], b[50:100:100]
				})
				out := sinkmemory.New()
				began := time.Now()
				out.SetFault(func(context.Context, *keystrand.Message) error {
					time.Sleep(c.fails - time.Since(began))
					return errors.New("away")
				})
				before := heap()
				run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
					Key(func(m *keystrand.Message) (keystrand.Key, error) {
						if c.lanes == 1 {
							return keystrand.KeyOf(m.Key), nil
						}
						return keystrand.KeysOf(string(m.Key), string(m.Key)+" too"), nil
					}).
					Transform(keystrand.TransformerFunc(echo)).To(out).
					Limits(pipeline.Limits{InFlight: 4 * n, FetchMessages: 20}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
				time.Sleep(time.Minute)
				synctest.Wait()
				if p := run.part(t, 0); p.Sinking != n {
					t.Fatalf("%d messages wait for the sink, want %d", p.Sinking, n)
				}
				if each := (heap() - before) / n; each > 10_000 {
					t.Errorf("I5: a message of 100 bytes that waits for its sink keeps %d", each)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestWaitingMessagesKeepNoFetchBuffers(t *testing.T) {
	const n, chunk = 1000, 64 << 10
	for _, c := range []struct {
		name  string
		keys  int64 // number of keys
		calls int   // handler calls until nothing more happens
		work  func(ctx context.Context) error
		waits func(s pipeline.PartitionSnapshot) int64
	}{
		{
			"parked", n, n, func(context.Context) error { return keystrand.RetryAfter(time.Hour, nil) },
			func(s pipeline.PartitionSnapshot) int64 { return s.Parked },
		},
		{
			"behind a parked one", 1, 1, func(context.Context) error { return keystrand.RetryAfter(time.Hour, nil) },
			func(s pipeline.PartitionSnapshot) int64 { return s.Parked },
		},
		{
			"behind a slow one", 1, 1, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(s pipeline.PartitionSnapshot) int64 { return s.Ready + s.Running },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Each message is a hundred bytes of a chunk of its own.
			log := memory.Generate("posts", 1, n, func(_ int32, offset int64, m *keystrand.Message) {
				b := make([]byte, chunk)
				copy(b, fmt.Sprintf("%050d", offset%c.keys))
				m.Key, m.Value = b[:50:50], b[50:100:100]
				m.Headers = []keystrand.Header{{Key: "h", Value: b[100:110:110]}}
			})
			before := heap()
			called := make(chan struct{}, n)
			run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
				Handle(keystrand.HandlerFunc(func(ctx context.Context, _ *keystrand.Message) error {
					called <- struct{}{}
					return c.work(ctx)
				})).
				Limits(pipeline.Limits{FetchMessages: 20}).
				Timing(pipeline.Timing{DrainTimeout: time.Millisecond}))
			for range c.calls {
				<-called
			}
			for c.waits(run.part(t, 0)) < n {
				runtime.Gosched()
			}
			grown := heap() - before
			t.Logf("%d messages: %d bytes each", n, grown/n)
			if grown > n*chunk/10 {
				t.Errorf("I5: %d messages of 110 bytes keep %d bytes", n, grown)
			}
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // it fits
}

// I6: while turns are short, a worker claims several lanes. If one turn does not return, other workers take over the
// lanes behind it.
func TestLanesBehindAStuckTurnAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
				if string(m.Key) == "stuck" {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})).Limits(pipeline.Limits{Workers: 2}).Timing(pipeline.Timing{DrainTimeout: time.Second}))
		log.Append(0, keysOf(1000, 50)...) // so that the executor knows that turns are short
		synctest.Wait()
		log.Append(0, append([]keystrand.Message{keyed("stuck")}, keysOf(200, 200)...)...)
		time.Sleep(time.Second)
		synctest.Wait()
		if p := run.part(t, 0); p.Settled != 1200 || p.Running != 1 {
			t.Errorf("I6: %d settled and %d running with one stuck key, want 1200 and 1", p.Settled, p.Running)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
