// Command workers shows what a number of workers reaches with a handler that waits: a sweep over workers with uniform
// keys and with skewed ones, each as a share of what is possible.
//
//	go run ./benchmarks/workers              # on a log in memory
//	go run ./benchmarks/workers -json        # one object a row
//	go run ./benchmarks/workers -short       # a few seconds
//
// Efficiency compares with the ideal, workers / handler time. Bare compares with the same calls of the same handler by
// as many goroutines in a loop, in the same run: timers fire late, and that is not the framework's. Bound is the time
// taken divided by the least time possible, which is the larger of all work / workers and the chain of the hottest key,
// both from the handler times as they were measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"hash/maphash"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

type row struct {
	Engine     string  `json:"engine"`
	Keys       string  `json:"keys"`
	Workers    int     `json:"workers"`
	Handler    float64 `json:"handler_ms"`
	Messages   int     `json:"messages"`
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"per_s"`
	Efficiency float64 `json:"efficiency"`
	Bare       float64 `json:"bare"`
	Bound      float64 `json:"bound"`
}

func main() {
	asJSON := flag.Bool("json", false, "print one JSON object a row")
	short := flag.Bool("short", false, "a few seconds: the figures say less")
	flag.Parse()
	rounds := 100
	sweep := []int{1, 10, 100, 1_000, 10_000}
	zipf, latency := 12_000, 50*time.Millisecond
	if *short {
		rounds, sweep, zipf, latency = 10, []int{10, 100}, 1_200, 10*time.Millisecond
	}
	if !*asJSON {
		fmt.Println(bench.Machine())
	}
	t := bench.NewTable("uniform keys", *asJSON)
	for _, w := range sweep {
		keys := bench.Uniform(100*w, rounds*w)
		bare := runBare(w, rounds, latency)
		t.Row(measure("keystrand", runPipeline, keys, w, latency, bare))
		if w == 100 || *short {
			t.Row(measure("hash-sharded workers", runHash, keys, w, latency, bare))
		}
	}
	t = bench.NewTable("skewed keys", *asJSON)
	for _, w := range sweep {
		if n := rounds * w / 4; w >= 10 && w <= 1_000 {
			t.Row(measure("keystrand", runPipeline, bench.Zipf(10_000, n), w, latency, 0))
		}
	}
	keys := bench.Zipf(10_000, zipf)
	t.Row(measure("keystrand", runPipeline, keys, 24, 10*time.Millisecond, 0))
	t.Row(measure("hash-sharded workers", runHash, keys, 24, 10*time.Millisecond, 0))
}

// work is the handler, and what it measures.
type work struct {
	keys    *bench.Keys
	latency time.Duration
	total   atomic.Int64   // ns spent in the handler
	byKey   []atomic.Int64 // the same for each key
	left    atomic.Int64
	done    chan struct{} // closed with the last message
}

func newWork(keys *bench.Keys, latency time.Duration) *work {
	w := &work{keys: keys, latency: latency, byKey: make([]atomic.Int64, keys.Count()), done: make(chan struct{})}
	w.left.Store(int64(keys.Len()))
	return w
}

func (w *work) handle(_ context.Context, m *keystrand.Message) error {
	start := time.Now()
	time.Sleep(w.latency)
	d := int64(time.Since(start))
	w.total.Add(d)
	w.byKey[w.keys.Number(int(m.Offset))].Add(d)
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
	return nil
}

// measure runs one engine and compares.
func measure(engine string, run func(*work, int), keys *bench.Keys, workers int, latency, bare time.Duration) row {
	w := newWork(keys, latency)
	start := time.Now()
	var took time.Duration
	ended := make(chan struct{})
	go func() {
		<-w.done
		took = time.Since(start)
		close(ended)
	}()
	run(w, workers)
	<-ended
	chain := int64(0)
	for i := range w.byKey {
		chain = max(chain, w.byKey[i].Load())
	}
	ideal := float64(workers) / latency.Seconds()
	r := row{
		Engine: engine, Keys: keys.Name, Workers: workers, Handler: float64(latency) / 1e6, Messages: keys.Len(),
		Seconds: took.Seconds(), Rate: float64(keys.Len()) / took.Seconds(),
		Bound: float64(took) / float64(max(chain, w.total.Load()/int64(workers))),
	}
	r.Efficiency = r.Rate / ideal
	if bare > 0 {
		r.Bare = float64(bare) / float64(took)
	}
	return r
}

func runPipeline(w *work, workers int) {
	log := memory.Generate("work", 1, int64(w.keys.Len()), func(_ int32, offset int64, m *keystrand.Message) {
		m.Key = w.keys.At(int(offset))
	})
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		Handle(keystrand.HandlerFunc(w.handle)).
		Limits(pipeline.Limits{Workers: workers, InFlight: max(20_000, 4*workers)}).
		Build()
	if err == nil {
		err = p.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

// runHash is what is often written by hand: a key belongs to a worker, which has a channel of 100 messages.
func runHash(w *work, workers int) {
	seed, queues := maphash.MakeSeed(), make([]chan int64, workers)
	var wg sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan int64, 100)
		wg.Go(func() {
			for offset := range queues[i] {
				_ = w.handle(context.Background(), &keystrand.Message{Offset: offset})
			}
		})
	}
	for i := range w.keys.Len() {
		queues[maphash.Bytes(seed, w.keys.At(i))%uint64(workers)] <- int64(i)
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
}

// runBare calls the handler from as many goroutines, rounds times each, and returns the time it took.
func runBare(workers, rounds int, latency time.Duration) time.Duration {
	w := newWork(bench.Uniform(workers, workers*rounds), latency)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for r := range rounds {
				_ = w.handle(context.Background(), &keystrand.Message{Offset: int64(i*rounds + r)})
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
