package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
	"github.com/keystrand/keystrand/source/pulsar"
)

// settling has the arguments of settle, which settles messages of different keys in a certain order.
type settling struct {
	URL          string
	Topic        string // empty: a log in memory, without acknowledgements
	Subscription string
	Messages     int
	Window       int // running handlers, one of which is chosen to return next
	Random       bool
}

type settleResult struct {
	Seconds float64 // from the first message settled to the last
	CPU     float64 // seconds
	Pause   float64 // ms
	Acked   float64 // ms
	Commits int
	Ranges  int

	requests, bytes, answers int64 // counted by the proxy
}

func settle(ctx context.Context, s settling) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := s.source()
	if err != nil {
		return err
	}
	w := &window{size: s.Window, left: s.Messages, random: s.Random, over: cancel}
	counted := &counting{Source: src}
	p, err := pipeline.From(counted).
		HandleFunc(func(context.Context, *keystrand.Message) error { w.wait(); return nil }).
		Limits(pipeline.Limits{Workers: s.Window, InFlight: 4 * s.Window}).
		Timing(pipeline.Timing{CommitInterval: 100 * time.Millisecond}).
		Build()
	if err != nil {
		return err
	}
	if err := p.Run(ctx); err != nil {
		return err
	}
	if n := p.Snapshot().Settled; n != int64(s.Messages) {
		return fmt.Errorf("%d of %d messages are settled", n, s.Messages)
	}
	return bench.Answer(settleResult{
		Seconds: w.last.Sub(w.first).Seconds(), CPU: bench.CPUTime().Seconds(), Pause: ms(w.pause), Acked: ms(counted.last.Sub(w.last)),
		Commits: counted.commits, Ranges: counted.ranges,
	})
}

func (s settling) source() (source.Source, error) {
	if s.Topic == "" {
		return memory.NewSource(memory.Config{}, memory.Generate("memory", 1, int64(s.Messages), func(_ int32, offset int64, m *keystrand.Message) {
			m.Key, m.Value = keyOf(int(offset)), valueOf(int(offset))
		})), nil
	}
	return pulsar.New(s.URL, s.Subscription, []string{s.Topic}, pulsar.Config{})
}

func keyOf(i int) []byte   { return fmt.Appendf(nil, "key-%d", i) }
func valueOf(i int) []byte { return fmt.Appendf(nil, "%0100d", i) }

// window decides which handler returns next: once enough wait, the one that waits longest, or a random one.
type window struct {
	size   int
	random bool
	over   func() // called with the last message

	mu          sync.Mutex
	left        int             // messages not yet handed to a handler
	waiting     []chan struct{} // from head on
	head        int
	first, last time.Time
	pause       time.Duration
}

func (w *window) wait() {
	turn := make(chan struct{})
	w.mu.Lock()
	w.left--
	w.waiting = append(w.waiting, turn)
	for n := len(w.waiting) - w.head; n >= w.size || w.left == 0 && n > 0; n = len(w.waiting) - w.head {
		if w.random {
			i := w.head + rand.IntN(n)
			w.waiting[i], w.waiting[w.head] = w.waiting[w.head], w.waiting[i]
		}
		close(w.waiting[w.head])
		w.head++
		now := time.Now()
		if w.first.IsZero() {
			w.first, w.last = now, now
		}
		w.pause, w.last = max(w.pause, now.Sub(w.last)), now
	}
	if w.head > w.size {
		w.waiting, w.head = append(w.waiting[:0], w.waiting[w.head:]...), 0
	}
	over := w.left == 0
	w.mu.Unlock()
	<-turn
	if over {
		w.over()
	}
}

// counting is a source that counts its commits.
type counting struct {
	source.Source

	mu      sync.Mutex
	commits int
	ranges  int
	last    time.Time
}

func (s *counting) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return countingPartition{p, s}, nil
}

type countingPartition struct {
	source.Partition
	s *counting
}

func (p countingPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	ranges := len(progress.Ahead)
	stored, err := p.Partition.Commit(ctx, progress)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.commits++
	p.s.ranges = max(p.s.ranges, ranges)
	p.s.last = time.Now()
	return stored, err
}
