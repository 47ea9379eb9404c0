// Real time: a benchmark of handlers that take time.

package pipeline_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	spillmemory "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// BenchmarkDivertedKey handles a backlog of one key, in turns without a store and with one. The first fetch makes the lane
// deep, so that most of the messages go to the store and come back. The metrics are medians: the rate with the store, and that
// divided by the rate without (of-lane). Use -benchtime 10x or more.
func BenchmarkDivertedKey(b *testing.B) {
	for _, h := range []struct {
		takes    time.Duration
		messages int64
	}{{5 * time.Millisecond, 800}, {100 * time.Microsecond, 10_000}} {
		for _, s := range []struct {
			name string
			open func(b *testing.B) spill.Store
		}{
			{"memory", func(*testing.B) spill.Store { return spillmemory.New() }},
			{"bolt", func(b *testing.B) spill.Store {
				b.Helper()
				s, err := bolt.New(filepath.Join(b.TempDir(), "spill.db"), bolt.Config{})
				if err != nil {
					b.Fatal(err)
				}
				return s
			}},
		} {
			b.Run(fmt.Sprintf("handler=%v/store=%s", h.takes, s.name), func(b *testing.B) {
				var rates, ofLane []float64
				for b.Loop() {
					alone, _ := hottest(b, h.takes, h.messages, nil)
					store := s.open(b)
					diverted, appended := hottest(b, h.takes, h.messages, store)
					rates = append(rates, float64(h.messages)/diverted.Seconds())
					ofLane = append(ofLane, alone.Seconds()/diverted.Seconds())
					if err := store.Close(); err != nil {
						b.Fatal(err)
					}
					if appended < h.messages/2 {
						b.Fatalf("%d of %d messages went to the store: this benchmark measures nothing", appended, h.messages)
					}
				}
				slices.Sort(rates)
				slices.Sort(ofLane)
				b.ReportMetric(rates[len(rates)/2], "messages/s")
				b.ReportMetric(ofLane[len(ofLane)/2], "of-lane")
				b.ReportMetric(0, "ns/op") // of both
			})
		}
	}
}

// hottest returns how long a pipeline with a store, or nil, takes for a backlog of one key, from its first handler to the end of
// its last one, and how many messages went to the store.
func hottest(b *testing.B, takes time.Duration, messages int64, store spill.Store) (took time.Duration, appended int64) {
	b.Helper()
	key, value := []byte("viral"), make([]byte, 1000)
	log := memory.Generate("posts", 1, messages, func(_ int32, _ int64, m *keystrand.Message) { m.Key, m.Value = key, value })
	var n atomic.Int64
	var first, last time.Time // written by one handler at a time
	var p *pipeline.Pipeline
	builder := pipeline.From(memory.NewSource(memory.Config{}, log)).
		HandleFunc(func(context.Context, *keystrand.Message) error {
			began, i := time.Now(), n.Add(1)
			if i == 1 {
				first = began
			}
			occupy(began, takes)
			if i == messages {
				last, appended = time.Now(), p.Snapshot().Diverting.Appended
			}
			return nil
		}).
		Limits(pipeline.Limits{Workers: 64})
	if store != nil {
		builder = builder.Divert(store)
	}
	var err error
	if p, err = builder.Build(); err != nil {
		b.Fatal(err)
	}
	if err := p.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n.Load() != messages {
		b.Fatalf("%d of %d messages handled", n.Load(), messages)
	}
	return last.Sub(first), appended
}

// occupy returns when a handler that began at the given time has taken so long. It sleeps only if that is exact enough: an idle
// process wakes up from a short sleep a millisecond late.
func occupy(began time.Time, takes time.Duration) {
	if takes >= 5*time.Millisecond {
		time.Sleep(takes) // real time: the handler's latency
	}
	for time.Since(began) < takes {
	}
}
