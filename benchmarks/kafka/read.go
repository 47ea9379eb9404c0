package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

const fetchBytes = 1 << 20 // of one response for a partition: the same for all engines

// reading has the arguments of read, which reads a topic from its first message to its last.
type reading struct {
	Brokers []string
	Topic   string
	Group   string
	Engine  string
	Ends    []int // messages of each partition
}

// readResult is the result of read.
type readResult struct {
	bench.Usage
	RSS      float64
	Rejoined int // see rejoins
	Replayed int // messages handled again because of it
}

// read reads the topic once with one engine.
func read(ctx context.Context, r reading) error {
	engines := map[string]func(context.Context, reading, *bench.Meter) (rejoined, replayed int, err error){
		"keystrand":               readPipeline,
		"raw loop":                exactly(readRaw),
		"kafka-go Conn.ReadBatch": exactly(readConn),
		"franz-go PollFetches":    exactly(readFranz),
	}
	engine, ok := engines[r.Engine]
	if !ok {
		return fmt.Errorf("unknown engine %q", r.Engine)
	}
	m := &bench.Meter{}
	rejoined, replayed, err := engine(ctx, r, m)
	if err != nil {
		return err
	}
	return bench.Answer(readResult{m.Usage(), bench.PeakRSS(), rejoined, replayed})
}

func (r reading) source() (source.Source, error) {
	return kafka.New(r.Brokers, r.Group, []string{r.Topic}, kafka.Config{StopAtEnd: true, MaxBytes: fetchBytes})
}

// metered is a source that starts the meter at the first Accept and stops it at the last Release. So the figures do not
// include joining and leaving the group.
type metered struct {
	source.Source
	meter *bench.Meter
}

func (s metered) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	s.meter.Start()
	return meteredPartition{p, s.meter}, nil
}

type meteredPartition struct {
	source.Partition
	meter *bench.Meter
}

func (p meteredPartition) Release(ctx context.Context) error {
	err := p.Partition.Release(ctx)
	p.meter.Stop()
	return err
}

// exactly returns an engine that fails unless it reads each message once.
func exactly(f func(context.Context, reading, *bench.Meter) error) func(context.Context, reading, *bench.Meter) (int, int, error) {
	return func(ctx context.Context, r reading, meter *bench.Meter) (int, int, error) {
		return 0, 0, f(ctx, r, meter)
	}
}

func readPipeline(ctx context.Context, r reading, meter *bench.Meter) (rejoined, replayed int, err error) {
	inner, err := r.source()
	if err != nil {
		return 0, 0, err
	}
	src := &rejoins{Source: inner}
	p, err := pipeline.From(metered{src, meter}).
		HandleFunc(func(context.Context, *keystrand.Message) error { return nil }).
		Build()
	if err != nil {
		return 0, 0, err
	}
	if err := p.Run(ctx); err != nil {
		return 0, 0, err
	}
	total := 0
	for _, n := range r.Ends {
		total += n
	}
	replayed = int(p.Snapshot().Settled) - total
	if replayed < 0 {
		return 0, 0, fmt.Errorf("only %d of %d messages are settled", total+replayed, total)
	}
	return src.times, replayed, nil
}

// readRaw is the raw loop: it reads the same source, and so the same fetch path, without a pipeline. It reads each key and
// value, and commits each partition once. A partition that is revoked is an error.
func readRaw(ctx context.Context, r reading, meter *bench.Meter) error {
	inner, err := r.source()
	if err != nil {
		return err
	}
	src := metered{&rejoins{Source: inner, once: true}, meter}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var loops sync.WaitGroup
	for {
		p, err := src.Accept(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fail(err) // after an earlier failure this is the cause of ctx's end, and fail ignores it
			break
		}
		loops.Go(func() {
			err := loop(ctx, p, r.Ends[p.ID().Partition])
			if err = errors.Join(err, p.Release(context.WithoutCancel(ctx))); err != nil {
				fail(err)
			}
		})
	}
	loops.Wait()
	return errors.Join(context.Cause(ctx), src.Close())
}

// loop reads a partition to its end and commits it.
func loop(ctx context.Context, p source.Partition, end int) error {
	b := source.Batch{MaxMessages: 256, MaxBytes: 1 << 20} // the pipeline's defaults
	next, n, bytes := int64(0), 0, 0
	for {
		b.Messages = b.Messages[:0]
		err := p.Fetch(ctx, &b)
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, source.ErrLeaving) {
			err = fmt.Errorf("%v: %w", p.ID(), errRejoined)
		}
		if err != nil {
			return err
		}
		for i := range b.Messages {
			bytes += len(b.Messages[i].Key) + int(b.Messages[i].Value[0])
		}
		n, next = n+len(b.Messages), b.Next
	}
	if n != end || bytes == 0 {
		return fmt.Errorf("%v: %d of %d messages", p.ID(), n, end)
	}
	_, err := p.Commit(ctx, &commit.Progress{Log: p.Restored().Log, Epoch: p.ID().Epoch, Frontier: next})
	return err
}

// readConn uses the fastest API of kafka-go: a connection for each partition.
func readConn(ctx context.Context, r reading, meter *bench.Meter) error {
	conns := make([]*kafkago.Conn, len(r.Ends))
	for i := range conns {
		c, err := kafkago.DialLeader(ctx, "tcp", r.Brokers[0], r.Topic, i)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }() // nothing was written
		if _, err := c.Seek(0, kafkago.SeekAbsolute|kafkago.SeekDontCheck); err != nil {
			return err
		}
		conns[i] = c
	}
	errs := make([]error, len(conns))
	var loops sync.WaitGroup
	meter.Start()
	for i, c := range conns {
		loops.Go(func() {
			for n := 0; n < r.Ends[i]; {
				_ = c.SetDeadline(time.Now().Add(30 * time.Second)) // an error shows at Close
				b := c.ReadBatchWith(kafkago.ReadBatchConfig{MinBytes: 1, MaxBytes: fetchBytes, MaxWait: time.Second})
				for {
					if _, err := b.ReadMessage(); err != nil {
						break
					}
					n++
				}
				if errs[i] = b.Close(); errs[i] != nil {
					return
				}
			}
		})
	}
	loops.Wait()
	meter.Stop()
	return errors.Join(errs...)
}

func readFranz(ctx context.Context, r reading, meter *bench.Meter) error {
	meter.Start()
	c, err := kgo.NewClient(
		kgo.SeedBrokers(r.Brokers...), kgo.ConsumeTopics(r.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(fetchBytes), kgo.FetchMaxBytes(int32(fetchBytes*len(r.Ends))),
	)
	if err != nil {
		return err
	}
	defer c.Close()
	left := 0
	for _, n := range r.Ends {
		left += n
	}
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		left -= fetches.NumRecords()
	}
	meter.Stop()
	return nil
}
