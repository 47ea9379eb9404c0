// Command memory measures keystrand's memory for waiting keys, busy workers, parked messages of large fetches, diverted
// keys, and idle partitions.
//
//	go run ./benchmarks/memory           # three minutes
//	go run ./benchmarks/memory -json     # one object a row
//	go run ./benchmarks/memory -short    # a few seconds
//	go run ./benchmarks/memory -only idle
//
// Bytes are the growth of the heap, measured after a garbage collection. Payloads (keys and values) are left out where the
// table says so. Each row runs in a process of its own, and so does the broker.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/kafkabench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/memory"
)

type row struct {
	Part       string  `json:"part"`
	What       string  `json:"what"`
	Count      int     `json:"count"`
	Partitions int     `json:"partitions"`
	Bytes      float64 `json:"bytes_each"` // 0: not measured
	Goroutines int     `json:"goroutines"` // growth
	Resident   float64 `json:"rss_mb"`     // growth of the resident memory; 0: not measured
	Goal       string  `json:"goal"`
}

const partitions = 8

func main() {
	bench.ServeWork(map[string]bench.Work{
		kafkabench.BrokerWork: bench.WorkOf(kafkabench.Broker),
		"waiting":             bench.WorkOf(waiting),
		"busy":                bench.WorkOf(busy),
		"parked":              bench.WorkOf(parked),
		"idle":                bench.WorkOf(idle),
		"strands":             bench.WorkOf(strands),
	})
	asJSON := flag.Bool("json", false, "print each row as a JSON object")
	short := flag.Bool("short", false, "run for a few seconds only: rough figures")
	only := flag.String("only", "", "comma-separated parts to run (default: all): waiting, busy, parked, diverted, idle")
	flag.Parse()
	if err := all(*only, *asJSON, *short); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

type part struct {
	name string
	does func(ctx context.Context, t *bench.Table, short bool) error
}

func all(only string, asJSON, short bool) error {
	parts := []part{{"waiting", wait}, {"busy", work}, {"parked", park}, {"diverted", diverted}, {"idle", rest}}
	parts, err := bench.Chosen(only, parts, func(p part) string { return p.name })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if !asJSON {
		fmt.Println(bench.Machine())
	}
	t := bench.NewTable("memory", asJSON)
	for _, p := range parts {
		if err := p.does(ctx, t, short); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// wait measures keys that wait for a worker.
func wait(ctx context.Context, t *bench.Table, short bool) error {
	keys := 1_000_000
	if short {
		keys = 100_000
	}
	f, err := bench.Run[found](ctx, "waiting", order{Count: keys})
	if err != nil {
		return err
	}
	t.Row(row{
		Part: "memory", What: "waiting keys, one message each, payload left out", Count: keys, Partitions: partitions,
		Bytes: f.Bytes / float64(keys), Goroutines: f.Goroutines, Goal: "bytes_each <= 300",
	})
	return nil
}

// work measures workers that are all in their handlers.
func work(ctx context.Context, t *bench.Table, _ bool) error {
	const workers = 10_000
	f, err := bench.Run[found](ctx, "busy", order{Count: workers})
	if err != nil {
		return err
	}
	t.Row(row{
		Part: "memory", What: "busy workers, a key each, stacks included", Count: workers, Partitions: partitions,
		Bytes: f.Bytes / float64(workers), Goroutines: f.Goroutines, Goal: "goroutines <= workers + a few a partition",
	})
	return nil
}

// rest measures partitions that never had a message, and partitions whose only batch was a minute ago.
func rest(ctx context.Context, t *bench.Table, short bool) error {
	o := order{Count: 10_000, Idle: time.Minute + 10*time.Second}
	if short {
		o = order{Count: 1_000, Idle: time.Second}
	}
	for _, o.Batch = range []int{0, 256} {
		what := "idle partitions, never a message, stacks included"
		if o.Batch > 0 {
			what = fmt.Sprintf("partitions idle for %v after a batch of %d, stacks included", o.Idle, o.Batch)
		}
		f, err := bench.Run[found](ctx, "idle", o)
		if err != nil {
			return err
		}
		t.Row(row{
			Part: "memory", What: what, Count: o.Count, Partitions: o.Count,
			Bytes: f.Bytes / float64(o.Count), Goroutines: f.Goroutines, Resident: f.Resident, Goal: "bytes_each <= 8,192; rss_mb <= 100",
		})
	}
	return nil
}

// park compares a pipeline that has handled all messages of a topic with one that has parked 1,000 of them.
func park(ctx context.Context, t *bench.Table, short bool) error {
	const count = 1_000
	messages := 500_000
	if short {
		messages = 50_000
	}
	addresses, broker, err := kafkabench.StartBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Stop() }() // an error at its end changes no figure
	k, err := kafkabench.New(addresses, 200_000)
	if err != nil {
		return err
	}
	defer k.Close()
	value := make([]byte, 100)
	topic, err := k.Fill(ctx, partitions, messages, func(i int) (int32, []byte, []byte) {
		if i%(messages/count) == 0 {
			return int32(i / (messages / count) % partitions), fmt.Appendf(nil, "parked-%d", i), value
		}
		return int32(i % partitions), fmt.Appendf(nil, "key-%d", i%10_000), value
	})
	if err != nil {
		return err
	}
	o := order{Brokers: addresses, Topic: topic, Group: topic + "-none", Count: messages}
	none, err := bench.Run[found](ctx, "parked", o)
	if err != nil {
		return err
	}
	o.Group, o.Parked = topic+"-parked", count
	f, err := bench.Run[found](ctx, "parked", o)
	if err != nil {
		return err
	}
	t.Row(row{
		Part: "memory", What: fmt.Sprintf("parked messages of 100 bytes, one in %d, all included", messages/count), Count: count, Partitions: partitions,
		Bytes: (f.Bytes - none.Bytes) / count, Goroutines: f.Goroutines, Goal: "bytes_each far below a chunk of 64 KiB",
	})
	return nil
}

// order says what to measure.
type order struct {
	Count   int
	Parked  int
	Brokers []string
	Topic   string
	Group   string
	Batch   int    // messages of each partition
	Strands string // held, or restored as held; empty: none
	Idle    time.Duration
}

type found struct {
	Bytes      float64
	Goroutines int
	Resident   float64
}

// measure runs a pipeline until stands reports true, and returns the growth of its memory and goroutines.
func measure(ctx context.Context, src source.Source, limits pipeline.Limits, h keystrand.HandlerFunc, stands func(*pipeline.Pipeline) bool) error {
	return measureOf(ctx, func() *pipeline.Builder { return pipeline.From(src).Handle(h).Limits(limits) }, stands)
}

// measureOf is measure for a pipeline that build describes.
func measureOf(ctx context.Context, build func() *pipeline.Builder, stands func(*pipeline.Pipeline) bool) error {
	before, goroutines, resident := held(), runtime.NumGoroutine(), bench.RSS()
	p, err := build().Timing(pipeline.Timing{DrainTimeout: time.Second}).Build()
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(run) }()
	for tick := time.NewTicker(200 * time.Millisecond); !stands(p); {
		select {
		case <-tick.C:
		case err := <-ended:
			stop()
			return fmt.Errorf("pipeline ended early: %w", err)
		}
	}
	f := found{held() - before, runtime.NumGoroutine() - goroutines - 1, bench.RSS() - resident} // one goroutine is Run's own
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return bench.Answer(f)
}

// held returns the bytes of heap and stacks in use.
func held() float64 {
	runtime.GC()
	runtime.GC() // a sync.Pool keeps its items for one more collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// waiting blocks the only worker, so that all keys wait with one message each. The payloads exist before the measurement.
func waiting(ctx context.Context, o order) error {
	names := make([]byte, 0, o.Count*12)
	for i := range o.Count {
		names = fmt.Appendf(names, "key-%08d", i)
	}
	value := make([]byte, 100)
	log := memory.Generate("waiting", partitions, int64(o.Count/partitions), func(p int32, offset int64, m *keystrand.Message) {
		i := (int(offset)*partitions + int(p)) * 12
		m.Key, m.Value = names[i:i+12:i+12], value
	})
	var n atomic.Int64
	err := measure(ctx, memory.NewSource(memory.Config{}, log),
		pipeline.Limits{Workers: 1, InFlight: 4 * o.Count, InFlightBytes: math.MaxInt, MaxReplay: 4 * o.Count},
		func(ctx context.Context, _ *keystrand.Message) error {
			if n.Add(1) < 20 {
				time.Sleep(time.Millisecond) // a slow handler lets the backlog grow
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		},
		func(p *pipeline.Pipeline) bool { return p.Snapshot().InFlight >= o.Count-20 })
	runtime.KeepAlive(names)
	return err
}

// busy blocks all workers in their handlers at once.
func busy(ctx context.Context, o order) error {
	log := memory.Generate("busy", partitions, int64(o.Count/partitions), func(p int32, offset int64, m *keystrand.Message) {
		m.Key = fmt.Appendf(nil, "%d-%d", p, offset)
	})
	var n atomic.Int64
	return measure(ctx, memory.NewSource(memory.Config{}, log), pipeline.Limits{Workers: o.Count, InFlight: 4 * o.Count},
		func(ctx context.Context, _ *keystrand.Message) error {
			n.Add(1)
			<-ctx.Done()
			return ctx.Err()
		},
		func(*pipeline.Pipeline) bool { return int(n.Load()) == o.Count })
}

// parked handles a Kafka topic. If o.Parked is not 0 it parks the messages with a key "parked-N".
func parked(ctx context.Context, o order) error {
	src, err := kafka.New(o.Brokers, o.Group, []string{o.Topic}, kafka.Config{})
	if err != nil {
		return err
	}
	return measure(ctx, src, pipeline.Limits{},
		func(_ context.Context, m *keystrand.Message) error {
			if o.Parked > 0 && m.Key[0] == 'p' {
				return keystrand.RetryAfter(time.Hour, nil)
			}
			return nil
		},
		func(p *pipeline.Pipeline) bool { return p.Snapshot().Settled == int64(o.Count-o.Parked) })
}

// idle lets all partitions wait for messages. The log and its payloads exist before the measurement.
func idle(ctx context.Context, o order) error {
	log := memory.NewLog("tables", o.Count)
	for n := range int32(o.Count) {
		for i := range o.Batch {
			log.Append(n, keystrand.Message{Key: []byte{byte(i)}})
		}
	}
	var since time.Time
	return measure(ctx, memory.NewSource(memory.Config{}, log), pipeline.Limits{},
		func(context.Context, *keystrand.Message) error { return nil },
		func(p *pipeline.Pipeline) bool {
			if !since.IsZero() {
				return time.Since(since) >= o.Idle
			}
			if s := p.Snapshot(); len(s.Partitions) == o.Count && s.Settled == int64(o.Count*o.Batch) {
				since = time.Now()
			}
			return false
		})
}
