package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/commit"
	spillmemory "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

const keys = 10_000

// BenchmarkOverhead measures the cost of a message with an empty handler: memory source, tracker, lanes, worker, handler,
// settle, progress. One op is one message; the keys are 10,000, uniform. With store there is a store for diverted keys, but
// no key is diverted. It compares two hand-written programs that track and commit nothing: workers that each own a part of
// the keys (hash), and a goroutine for each key. Channels of the same Message feed both.
//
// All workers are busy once before the clock starts, so no engine starts its goroutines while it is measured.
func BenchmarkOverhead(b *testing.B) {
	for _, workers := range []int{1, 16, 256, 10_000} {
		for _, v := range []struct {
			name string
			run  func(b *testing.B, f *feed, workers int)
		}{{"keystrand", runPipeline}, {"store", runStore}, {"hash", runHash}, {"goroutine-per-key", runPerKey}} {
			if v.name == "goroutine-per-key" && workers != 256 {
				continue // it has a goroutine for each key, so workers changes nothing
			}
			b.Run(fmt.Sprintf("%s/workers=%d", v.name, workers), func(b *testing.B) {
				b.ReportAllocs()
				f := newFeed(workers, int64(b.N), b.ResetTimer)
				v.run(b, f, workers)
				b.ReportMetric(float64(cpuTime()-f.cpu)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkStore measures what a store costs each message while no key is diverted: CPU time with the store less that without
// it, as the median of pairs of runs that alternate. Use -benchtime 20x or more.
func BenchmarkStore(b *testing.B) {
	const messages = 500_000
	for _, workers := range []int{1, 256} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			var more, without []float64
			run := func(of func(*testing.B, *feed, int)) float64 {
				f := newFeed(workers, messages, func() {})
				of(b, f, workers)
				b.StartTimer() // which of has stopped
				return float64(cpuTime()-f.cpu) / messages
			}
			for i := 0; b.Loop(); i++ {
				var with, bare float64
				if i%2 == 0 {
					bare, with = run(runPipeline), run(runStore)
				} else {
					with, bare = run(runStore), run(runPipeline)
				}
				more, without = append(more, with-bare), append(without, bare)
			}
			b.ReportMetric(bench.Median(more), "cpu-ns-more/message")
			b.ReportMetric(bench.Median(without), "cpu-ns/message")
			b.ReportMetric(0, "ns/op") // of a pair
		})
	}
}

// feed has two logs: warm with a message for each worker, which makes all workers busy at once, and then the log to
// measure.
type feed struct {
	warm, log *memory.Log
	n         int64
	all       sync.WaitGroup
	clock     func()        // starts the clock
	cpu       time.Duration // CPU time when the clock started
	begin     chan struct{}
}

func newFeed(workers int, n int64, clock func()) *feed {
	f := &feed{n: n, clock: clock, begin: make(chan struct{})}
	f.all.Add(workers)
	names, value := make([][]byte, max(keys, workers)), make([]byte, 100)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%d", i)
	}
	f.warm = memory.Generate("warm", 1, int64(workers), func(_ int32, offset int64, m *keystrand.Message) {
		m.Key, m.Value = names[offset], value
	})
	var seed uint64 = 1
	f.log = memory.Generate("bench", 1, f.n, func(_ int32, offset int64, m *keystrand.Message) {
		if offset == 0 {
			<-f.begin
		}
		seed = seed*6364136223846793005 + 1442695040888963407
		m.Key, m.Value = names[(seed>>33)%keys], value
	})
	return f
}

// handle does nothing, except for messages of warm: it blocks until all workers have one.
func (f *feed) handle(_ context.Context, m *keystrand.Message) error {
	if m.Stream == "warm" {
		f.all.Done()
		f.all.Wait()
		if m.Offset == 0 {
			f.cpu = cpuTime()
			f.clock()
			close(f.begin)
		}
	}
	return nil
}

func runPipeline(b *testing.B, f *feed, workers int) {
	b.Helper()
	runBuilt(b, f, newBuilder(f, workers))
}

func runStore(b *testing.B, f *feed, workers int) {
	b.Helper()
	store := spillmemory.New()
	store.SetFault(func(_ context.Context, c spillmemory.Call) error {
		if c.Op == spillmemory.Append {
			b.Errorf("%d messages diverted, want none", len(c.Records))
		}
		return nil
	})
	runBuilt(b, f, newBuilder(f, workers).Divert(store))
}

func newBuilder(f *feed, workers int) *pipeline.Builder {
	return pipeline.From(memory.NewSource(memory.Config{}, f.warm, f.log)).
		HandleFunc(f.handle).
		Limits(pipeline.Limits{Workers: workers, InFlight: max(20_000, 2*workers)})
}

func runBuilt(b *testing.B, f *feed, builder *pipeline.Builder) {
	b.Helper()
	p, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if c := f.log.Group("").Committed(0); c == nil || c.Frontier != f.n {
		b.Fatalf("committed %+v of %d messages", c, f.n)
	}
}

// runHash sends each key to the worker that owns it, by a channel of 100 messages.
func runHash(b *testing.B, f *feed, workers int) {
	b.Helper()
	seed, ctx := maphash.MakeSeed(), b.Context()
	queues := make([]chan keystrand.Message, workers)
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan keystrand.Message, 100)
		wg.Go(func() {
			for m := range queues[i] {
				_ = f.handle(ctx, &m)
			}
		})
	}
	fetchAll(b, f, func(m *keystrand.Message) {
		i := maphash.Bytes(seed, m.Key) % uint64(workers)
		if m.Stream == "warm" {
			i = uint64(m.Offset) // one for each worker
		}
		queues[i] <- *m
	})
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
}

// runPerKey gives every key a goroutine and a channel until the end of the op.
func runPerKey(b *testing.B, f *feed, _ int) {
	b.Helper()
	ctx := b.Context()
	queues := map[string]chan keystrand.Message{}
	var wg sync.WaitGroup
	fetchAll(b, f, func(m *keystrand.Message) {
		q, ok := queues[string(m.Key)]
		if !ok {
			q = make(chan keystrand.Message, 16)
			queues[string(m.Key)] = q
			wg.Go(func() {
				for m := range q {
					_ = f.handle(ctx, &m)
				}
			})
		}
		q <- *m
	})
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
}

// fetchAll reads the log in batches, as the pipeline does.
func fetchAll(b *testing.B, f *feed, dispatch func(*keystrand.Message)) {
	b.Helper()
	src := memory.NewSource(memory.Config{}, f.warm, f.log)
	defer func() { _ = src.Close() }() // closing a log in memory loses nothing
	batch := source.Batch{MaxMessages: 256, MaxBytes: 1 << 20}
	for range 2 {
		p, err := src.Accept(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for {
			batch.Messages = batch.Messages[:0]
			if err = p.Fetch(b.Context(), &batch); err != nil {
				break
			}
			for i := range batch.Messages {
				dispatch(&batch.Messages[i])
			}
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		if _, err := p.Commit(b.Context(), &commit.Progress{Log: p.Restored().Log, Epoch: p.ID().Epoch, Frontier: batch.Next}); err != nil {
			b.Fatal(err)
		}
		if err := p.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
