package benchmarks

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// BenchmarkFairness runs 16 workers on 10,000 keys whose handlers take 1 us, and on one key whose handler takes 1 s at
// once. An op is such a second. It reports for the other keys how long a message waited at most from its fetch until
// its handler began: for all that, and beside it for a second in which no handler is slow, since a busy machine lets
// every process wait.
func BenchmarkFairness(b *testing.B) {
	for b.Loop() {
		calm, _ := longestWait(b, false)
		longest, messages := longestWait(b, true)
		b.ReportMetric(float64(longest)/1e6, "ms-longest-wait")
		b.ReportMetric(float64(calm)/1e6, "ms-without-slow")
		b.ReportMetric(float64(messages), "messages/s")
	}
}

// longestWait runs for a second, with a slow handler or without.
func longestWait(b *testing.B, slow bool) (longest time.Duration, messages int64) {
	b.Helper()
	const second = time.Second
	names := make([][]byte, keys)
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%d", i)
	}
	log := memory.Generate("fair", 1, 1<<40, func(_ int32, offset int64, m *keystrand.Message) {
		m.Key = names[(uint64(offset)*11400714819323198485>>33)%keys]
		if offset == 5_000 { // when the others are at work
			m.Key = []byte("slow")
		}
	})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var most, handled atomic.Int64
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			begun := time.Now()
			if len(m.Key) == 4 {
				if slow {
					time.Sleep(second) // real time: it holds its worker, as a call to another service would
					cancel()
				} else {
					time.AfterFunc(second, cancel)
				}
				return nil
			}
			wait := int64(begun.Sub(m.Fetched))
			for seen := most.Load(); wait > seen && !most.CompareAndSwap(seen, wait); seen = most.Load() {
			}
			handled.Add(1)
			for time.Since(begun) < time.Microsecond {
			}
			return nil
		})).
		Limits(pipeline.Limits{Workers: 16, MaxReplay: 1 << 30}). // else its partition rests at MaxReplay until the next commit
		Build()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
	return time.Duration(most.Load()), handled.Load()
}
