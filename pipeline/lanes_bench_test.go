// Real time: a benchmark of a slow sink.

package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// BenchmarkSinkLanes writes 20,000 messages to a sink whose Write takes 5 ms. Outputs of one lane follow each other
// without waiting; a message of two lanes holds them until its outputs are durable.
func BenchmarkSinkLanes(b *testing.B) {
	const messages = 20_000
	names := make([][]byte, messages)
	beside := make([]string, messages)
	for i := range names {
		names[i], beside[i] = fmt.Append(nil, "k", i), fmt.Sprint("beside k", i)
	}
	for _, lanes := range []int{1, 2} {
		for _, keys := range []int{messages, 1000} {
			b.Run(fmt.Sprintf("lanes=%d/keys=%d", lanes, keys), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					log := memory.Generate("posts", 1, messages, func(_ int32, offset int64, m *keystrand.Message) {
						m.Key = names[offset%int64(keys)]
					})
					p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
						Key(func(m *keystrand.Message) (keystrand.Key, error) {
							if lanes == 1 {
								return keystrand.KeyOf(m.Key), nil
							}
							return keystrand.KeysOf(string(m.Key), beside[m.Offset%int64(keys)]), nil
						}).
						Transform(keystrand.TransformerFunc(echo)).
						To(sinkFunc(func(context.Context, []keystrand.Message) error {
							time.Sleep(5 * time.Millisecond) // real time: latency of a store
							return nil
						})).Limits(pipeline.Limits{Workers: 64}).Build()
					if err != nil {
						b.Fatal(err)
					}
					if err := p.Run(b.Context()); err != nil {
						b.Fatal(err)
					}
					if s := p.Snapshot(); s.Written != messages {
						b.Fatalf("%d of %d messages written", s.Written, messages)
					}
				}
				b.ReportMetric(messages*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
