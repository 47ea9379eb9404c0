package main

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/kafka"
)

// serving has the arguments of serve: a service with a handler that waits.
type serving struct {
	Brokers  []string
	Topic    string
	Group    string
	Engine   string
	Workers  int
	Messages int
	Handler  time.Duration
}

type serveResult struct {
	Seconds float64 // from the first message to the last
	CPU     float64 // of the whole process
	RSS     float64
}

// serve handles all messages of a topic.
func serve(ctx context.Context, s serving) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first, left atomic.Int64
	left.Store(int64(s.Messages))
	var took time.Duration
	start := time.Now()
	handle := func() {
		first.CompareAndSwap(0, int64(time.Since(start)))
		time.Sleep(s.Handler)
		if left.Add(-1) == 0 {
			took = time.Since(start) - time.Duration(first.Load())
			cancel()
		}
	}
	var err error
	if s.Engine == "keystrand" {
		err = servePipeline(ctx, s, handle)
	} else {
		err = serveByHand(ctx, s, handle)
	}
	if err != nil {
		return err
	}
	return bench.Answer(serveResult{took.Seconds(), bench.CPUTime().Seconds(), bench.PeakRSS()})
}

func servePipeline(ctx context.Context, s serving, handle func()) error {
	src, err := kafka.New(s.Brokers, s.Group, []string{s.Topic}, kafka.Config{})
	if err != nil {
		return err
	}
	p, err := pipeline.From(&rejoins{Source: src, once: true}).
		HandleFunc(func(context.Context, *keystrand.Message) error { handle(); return nil }).
		Limits(pipeline.Limits{Workers: s.Workers}).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// serveByHand is a usual hand-written program on kafka-go. Each key belongs to a goroutine, which reads a channel of 100
// messages. Each second it commits the lowest offset that is not handled.
func serveByHand(ctx context.Context, s serving, handle func()) error {
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: s.Brokers, Topic: s.Topic, GroupID: s.Group, StartOffset: kafkago.FirstOffset,
		MaxBytes: fetchBytes, MaxWait: 500 * time.Millisecond, JoinGroupBackoff: 300 * time.Millisecond,
	})
	lowest := &lowest{pending: map[int]*pending{}}
	seed, queues := maphash.MakeSeed(), make([]chan kafkago.Message, s.Workers)
	var workers, committer sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan kafkago.Message, 100)
		workers.Go(func() {
			for m := range queues[i] {
				handle()
				lowest.handled(m)
			}
		})
	}
	committer.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			_ = reader.CommitMessages(ctx, lowest.next(s.Topic)...) // the next tick commits again
		}
	})
	for {
		m, err := reader.FetchMessage(ctx)
		if err != nil {
			break
		}
		lowest.fetched(m)
		queues[maphash.Bytes(seed, m.Key)%uint64(s.Workers)] <- m
	}
	for _, q := range queues {
		close(q)
	}
	workers.Wait()
	committer.Wait()
	_ = reader.CommitMessages(context.WithoutCancel(ctx), lowest.next(s.Topic)...)
	return reader.Close()
}

// lowest tracks the lowest unhandled offset of each partition.
type lowest struct {
	mu      sync.Mutex
	pending map[int]*pending
}

type pending struct {
	first int64 // offset of done[0]
	done  []bool
}

func (l *lowest) fetched(m kafkago.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[m.Partition]
	if p == nil {
		p = &pending{first: m.Offset}
		l.pending[m.Partition] = p
	}
	p.done = append(p.done, false)
}

func (l *lowest) handled(m kafkago.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[m.Partition]
	p.done[m.Offset-p.first] = true
	for len(p.done) > 0 && p.done[0] {
		p.first, p.done = p.first+1, p.done[1:]
	}
}

// next returns for each partition the message before the lowest unhandled one, as CommitMessages wants it.
func (l *lowest) next(topic string) []kafkago.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ms []kafkago.Message
	for n, p := range l.pending {
		if p.first > 0 {
			ms = append(ms, kafkago.Message{Topic: topic, Partition: n, Offset: p.first - 1})
		}
	}
	return ms
}
