// Command workers measures the throughput of a handler that waits, for growing numbers of workers, with uniform and with
// skewed keys. It prints each rate as a part of the possible rate.
//
//	go run ./benchmarks/workers              # on a log in memory
//	go run ./benchmarks/workers -pulsar pulsar://localhost:6650 -admin http://localhost:8080  # on a real Pulsar
//	go run ./benchmarks/workers -json        # one object a row
//	go run ./benchmarks/workers -short       # a few seconds
//
// The columns are
//   - efficiency: the rate divided by the ideal one, workers / handler time;
//   - bare: the rate divided by the rate of the same number of goroutines that call the handler in a loop, in the same
//     run. It leaves out timers that fire late;
//   - bound: the time divided by the least possible, max(all work / workers, chain of the hottest key), from the measured
//     handler times.
//
// On Pulsar the topic has four partitions, and each key is in one of them. The clock starts when all four are accepted, and
// stops with the last message. Rows of other engines read from no log.
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
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

type row struct {
	Engine     string  `json:"engine"`
	Log        string  `json:"log"`
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
	asJSON := flag.Bool("json", false, "print each row as a JSON object")
	short := flag.Bool("short", false, "run for a few seconds only: rough figures")
	url := flag.String("pulsar", "", "URL of a Pulsar to read from (default: a log in memory)")
	admin := flag.String("admin", "", "with -pulsar: URL of Pulsar's web service (default http://HOST:8080)")
	flag.Parse()
	if err := sweep(*url, *admin, *asJSON, *short); err != nil {
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

func sweep(url, admin string, asJSON, short bool) error {
	rounds := 100
	sizes := []int{1, 10, 100, 1_000, 10_000}
	zipf, latency := 12_000, 50*time.Millisecond
	if short {
		rounds, sizes, zipf, latency = 10, []int{10, 100}, 1_200, 10*time.Millisecond
	}
	name, run := "memory", runMemory
	if url != "" {
		p, err := newOnPulsar(url, admin)
		if err != nil {
			return err
		}
		defer p.Close()
		name, run = "Pulsar", p.run
	}
	if !asJSON {
		fmt.Println(bench.Machine())
	}
	var failed error
	var t *bench.Table
	add := func(engine, log string, run func(*work, int) error, keys *bench.Keys, workers int, latency, bare time.Duration) {
		if failed != nil {
			return
		}
		var r row
		if r, failed = measure(engine, run, keys, workers, latency, bare); failed == nil {
			r.Log = log
			t.Row(r)
		}
	}
	keystrand := func(keys *bench.Keys, workers int, latency, bare time.Duration) {
		add("keystrand", name, run, keys, workers, latency, bare)
	}
	hash := func(keys *bench.Keys, workers int, latency, bare time.Duration) {
		add("hash-sharded workers", "none", runHash, keys, workers, latency, bare)
	}
	t = bench.NewTable("uniform keys", asJSON)
	for _, w := range sizes {
		keys := bench.Uniform(100*w, rounds*w)
		bare := runBare(w, rounds, latency)
		keystrand(keys, w, latency, bare)
		if w == 100 || short {
			hash(keys, w, latency, bare)
		}
	}
	t = bench.NewTable("skewed keys", asJSON)
	for _, w := range sizes {
		if n := rounds * w / 4; w >= 10 && w <= 1_000 {
			keystrand(bench.Zipf(10_000, n), w, latency, 0)
		}
	}
	keys := bench.Zipf(10_000, zipf)
	keystrand(keys, 24, 10*time.Millisecond, 0)
	hash(keys, 24, 10*time.Millisecond, 0)
	return failed
}

// work is the handler and its measurements.
type work struct {
	keys    *bench.Keys
	latency time.Duration
	start   time.Time // when the first message could begin
	number  func(m *keystrand.Message) int
	total   atomic.Int64   // ns spent in the handler
	byKey   []atomic.Int64 // the same for each key
	left    atomic.Int64
	took    time.Duration // from start to the last message
	done    chan struct{} // closed with the last message
}

func newWork(keys *bench.Keys, latency time.Duration) *work {
	w := &work{keys: keys, latency: latency, byKey: make([]atomic.Int64, keys.Count()), done: make(chan struct{})}
	w.start, w.number = time.Now(), func(m *keystrand.Message) int { return int(m.Offset) }
	w.left.Store(int64(keys.Len()))
	return w
}

func (w *work) handle(_ context.Context, m *keystrand.Message) error {
	start := time.Now()
	time.Sleep(w.latency)
	d := int64(time.Since(start))
	w.total.Add(d)
	w.byKey[w.keys.Number(w.number(m))].Add(d)
	if w.left.Add(-1) == 0 {
		w.took = time.Since(w.start)
		close(w.done)
	}
	return nil
}

// measure runs one engine and returns its row.
func measure(engine string, run func(*work, int) error, keys *bench.Keys, workers int, latency, bare time.Duration) (row, error) {
	w := newWork(keys, latency)
	if err := run(w, workers); err != nil {
		return row{}, err
	}
	<-w.done
	chain := int64(0)
	for i := range w.byKey {
		chain = max(chain, w.byKey[i].Load())
	}
	ideal := float64(workers) / latency.Seconds()
	r := row{
		Engine: engine, Keys: keys.Name, Workers: workers, Handler: float64(latency) / 1e6, Messages: keys.Len(),
		Seconds: w.took.Seconds(), Rate: float64(keys.Len()) / w.took.Seconds(),
		Bound: float64(w.took) / float64(max(chain, w.total.Load()/int64(workers))),
	}
	r.Efficiency = r.Rate / ideal
	if bare > 0 {
		r.Bare = float64(bare) / float64(w.took)
	}
	return r, nil
}

func runMemory(w *work, workers int) error {
	log := memory.Generate("work", 1, int64(w.keys.Len()), func(_ int32, offset int64, m *keystrand.Message) {
		m.Key = w.keys.At(int(offset))
	})
	w.start = time.Now()
	return runPipeline(context.Background(), memory.NewSource(memory.Config{}, log), w, workers)
}

func runPipeline(ctx context.Context, src source.Source, w *work, workers int) error {
	p, err := pipeline.From(src).
		HandleFunc(w.handle).
		Limits(pipeline.Limits{Workers: workers}).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// runHash is the usual hand-written program: each key belongs to a worker, which reads a channel of 100 messages.
func runHash(w *work, workers int) error {
	w.start = time.Now()
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
	return nil
}

// runBare calls the handler from as many goroutines as workers, rounds times each, and returns the time taken.
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
