package main

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
)

// serveByHand is a usual hand-written program on kafka-go. Each key belongs to a goroutine, which reads a channel of 100
// messages. Each second it commits the lowest offset that is not handled.
func serveByHand(ctx context.Context, s bench.Service, handle func()) error {
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: s.Brokers, Topic: s.Topic, GroupID: s.Group, StartOffset: kafkago.FirstOffset,
		MaxBytes: 1 << 20, MaxWait: 500 * time.Millisecond, JoinGroupBackoff: 300 * time.Millisecond,
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
