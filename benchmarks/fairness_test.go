package benchmarks

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// BenchmarkFairness runs 16 workers on 10,000 keys with a handler of 1 us and on one key with a handler of 1 s. An op
// lasts that second. For the other keys it reports the longest wait of a message until its handler began, and how many
// messages in a million waited longer than the goal of 10 ms.
//
// The variants of the feed are
//   - paced: bursts of 200 messages a millisecond, which two CPUs handle in about a third of it. A wait begins when the
//     message is due, so it holds only the delay that other messages caused.
//   - full-speed: all messages are fetched at once. A wait begins at the fetch, so it also holds the messages fetched
//     before, time slices and other processes.
//
// At full speed compare slow with the two runs that have no slow handler: calm, and channels, which shards the keys to 16
// goroutines by channels.
//
// ms-goroutine-runnable is the longest time that a runnable goroutine waited for Go's scheduler. The rest of a longer
// message wait was the operating system's.
func BenchmarkFairness(b *testing.B) {
	for _, pace := range []string{"paced", "full-speed"} {
		for _, v := range []struct {
			name string
			run  func(ctx context.Context, b *testing.B, f *fair)
		}{{"slow", runFair}, {"calm", runFair}, {"channels", runFairChannels}} {
			b.Run(pace+"/"+v.name, func(b *testing.B) {
				f := &fair{paced: pace == "paced", slow: v.name == "slow", before: runnableTimes()}
				for b.Loop() {
					ctx, cancel := context.WithCancel(b.Context())
					f.begin(cancel)
					v.run(ctx, b, f)
					cancel()
				}
				handled := float64(f.handled.Load())
				b.ReportMetric(float64(f.longest.Load())/1e6, "ms-longest-wait")
				b.ReportMetric(float64(f.late.Load())/handled*1e6, "ppm-over-goal")
				b.ReportMetric(float64(f.runnable())/1e6, "ms-goroutine-runnable")
				b.ReportMetric(handled/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

const (
	fairBurst = 200 // messages each millisecond
	fairSlow  = time.Second
	fairGoal  = 10 * time.Millisecond
)

// fair is the feed, the handler and their measurements.
type fair struct {
	paced, slow bool
	log         *memory.Log
	end         context.CancelFunc // ends the op
	before      *metrics.Float64Histogram

	// The slow key does not count.
	longest, late, handled atomic.Int64
}

// begin makes a log that lasts until end is called.
func (f *fair) begin(end context.CancelFunc) {
	f.end = end
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%d", i)
	}
	var due time.Time
	f.log = memory.Generate("fair", 1, 1<<40, func(_ int32, offset int64, m *keystrand.Message) {
		if f.paced && offset%fairBurst == 0 {
			if offset == 0 {
				due = time.Now()
			}
			due = due.Add(time.Millisecond)
			time.Sleep(time.Until(due)) // real time: the benchmark measures one second of it
		}
		m.Time = due
		m.Key = names[(uint64(offset)*11400714819323198485>>33)%keys]
		if offset == 5_000 { // when the others are at work
			m.Key = []byte("slow")
		}
	})
}

func runnableTimes() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// runnable returns the longest time that a goroutine was runnable, rounded down to the histogram's bucket.
func (f *fair) runnable() (most time.Duration) {
	now := runnableTimes()
	for i, n := range now.Counts {
		if n > f.before.Counts[i] {
			most = time.Duration(max(now.Buckets[i], 0) * float64(time.Second))
		}
	}
	return most
}

// Handle is the handler. It is called from many goroutines.
func (f *fair) Handle(_ context.Context, m *keystrand.Message) error {
	begun := time.Now()
	if len(m.Key) == 4 {
		if f.slow {
			time.Sleep(fairSlow) // real time: it occupies its worker, as a call to another service would
			f.end()
		} else {
			time.AfterFunc(fairSlow, f.end)
		}
		return nil
	}
	from := m.Fetched
	if f.paced {
		from = m.Time
	}
	wait := begun.Sub(from)
	for seen := f.longest.Load(); int64(wait) > seen && !f.longest.CompareAndSwap(seen, int64(wait)); seen = f.longest.Load() {
	}
	if wait > fairGoal {
		f.late.Add(1)
	}
	f.handled.Add(1)
	for time.Since(begun) < time.Microsecond {
	}
	return nil
}

func runFair(ctx context.Context, b *testing.B, f *fair) {
	b.Helper()
	p, err := pipeline.From(memory.NewSource(memory.Config{}, f.log)).
		Handle(f).
		// A smaller MaxReplay would pause the partition. FetchMessages makes a batch of each burst, so no fetch waits for the
		// next burst.
		Limits(pipeline.Limits{Workers: 16, InFlight: 20_000, MaxReplay: 1 << 30, FetchMessages: fairBurst}).
		Build()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
}

func runFairChannels(ctx context.Context, b *testing.B, f *fair) {
	b.Helper()
	src := memory.NewSource(memory.Config{}, f.log)
	p, err := src.Accept(ctx)
	if err != nil {
		b.Fatal(err)
	}
	seed := maphash.MakeSeed()
	queues := make([]chan keystrand.Message, 16)
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan keystrand.Message, 64) // together about as many messages as keystrand admits ahead
		wg.Go(func() {
			for m := range queues[i] {
				_ = f.Handle(ctx, &m)
			}
		})
	}
	batch := source.Batch{MaxMessages: fairBurst, MaxBytes: 1 << 20}
	for ctx.Err() == nil {
		if err := p.Fetch(ctx, &batch); err != nil {
			break
		}
		now := time.Now()
		for i := range batch.Messages {
			m := &batch.Messages[i]
			m.Fetched = now
			queues[maphash.Bytes(seed, m.Key)%16] <- *m
		}
		batch.Messages = batch.Messages[:0]
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	if err := p.Release(context.WithoutCancel(ctx)); err != nil {
		b.Fatal(err)
	}
	if err := src.Close(); err != nil {
		b.Fatal(err)
	}
}
