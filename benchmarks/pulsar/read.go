package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar"
)

// reading has the arguments of read, which reads a topic from its first message to its last.
type reading struct {
	URL          string
	Topic        string
	Subscription string
	Engine       string
	Ends         []int // messages of each partition
}

// readResult is the result of read. The time starts when all partitions are accepted and have fetched ahead, and stops with
// the confirmation of the last acknowledgement. CPU and allocations are those of the whole process, since they must include
// what was fetched ahead.
type readResult struct {
	Seconds, CPU, Allocs, Bytes, RSS float64
}

// ahead is how long all engines may fetch ahead before the time starts. A broker sends up to 100 entries at once to a new
// consumer, here 10,000 messages, though the consumer has asked for 1,000. Without this pause, an engine that attaches to
// one partition after the other would have received more before its time starts.
const ahead = time.Second

const ackInterval = time.Second // of all engines: the pipeline's default

// read reads the topic once with one engine.
func read(ctx context.Context, r reading) error {
	engines := map[string]func(context.Context, reading, *bench.Meter) error{
		"keystrand":                readPipeline,
		"keystrand's source alone": readSource,
		"Receive loop":             readBare,
	}
	engine, ok := engines[r.Engine]
	if !ok {
		return fmt.Errorf("unknown engine %q", r.Engine)
	}
	var whole, m bench.Meter
	whole.Start()
	if err := engine(ctx, r, &m); err != nil {
		return err
	}
	whole.Stop()
	all := whole.Usage()
	return bench.Answer(readResult{m.Usage().Seconds, all.CPU, all.Allocs, all.Bytes, bench.PeakRSS()})
}

func (r reading) messages() int {
	n := 0
	for _, end := range r.Ends {
		n += end
	}
	return n
}

// source returns the source to measure. It returns no partition before all are accepted.
func (r reading) source(meter *bench.Meter) (source.Source, error) {
	s, err := pulsar.New(r.URL, r.Subscription, []string{r.Topic}, pulsar.Config{})
	if err != nil {
		return nil, err
	}
	return metered{bench.Gather(s, len(r.Ends), func() {
		time.Sleep(ahead)
		meter.Start()
	}), meter}, nil
}

// metered is a source that stops the meter at each confirmed commit; the last one counts.
type metered struct {
	source.Source
	meter *bench.Meter
}

func (s metered) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return meteredPartition{p, s.meter}, nil
}

type meteredPartition struct {
	source.Partition
	meter *bench.Meter
}

func (p meteredPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	stored, err := p.Partition.Commit(ctx, progress)
	p.meter.Stop()
	return stored, err
}

func readPipeline(ctx context.Context, r reading, meter *bench.Meter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src, err := r.source(meter)
	if err != nil {
		return err
	}
	var left atomic.Int64
	left.Store(int64(r.messages()))
	p, err := pipeline.From(src).
		HandleFunc(func(context.Context, *keystrand.Message) error {
			if left.Add(-1) == 0 {
				cancel()
			}
			return nil
		}).
		Timing(pipeline.Timing{CommitInterval: ackInterval}).
		Build()
	if err != nil {
		return err
	}
	if err := p.Run(ctx); err != nil {
		return err
	}
	if n := p.Snapshot().Settled; n != int64(r.messages()) {
		return fmt.Errorf("%d of %d messages are settled", n, r.messages())
	}
	return nil
}

// readBare is the loop of the client library's documentation. It acknowledges cumulatively once a second, which is the
// cheapest way, and reads each key and value.
func readBare(ctx context.Context, r reading, meter *bench.Meter) error {
	c, err := pulsarbench.Client(r.URL)
	if err != nil {
		return err
	}
	defer c.Close()
	consumers := make([]client.Consumer, len(r.Ends))
	for i := range consumers {
		if consumers[i], err = c.Subscribe(client.ConsumerOptions{
			Topic: pulsarbench.Partition(r.Topic, i), SubscriptionName: r.Subscription, Type: client.Exclusive,
			SubscriptionInitialPosition: client.SubscriptionPositionEarliest, AckWithResponse: true,
		}); err != nil {
			return err
		}
		defer consumers[i].Close()
	}
	time.Sleep(ahead)
	meter.Start()
	errs := make([]error, len(consumers))
	var loops sync.WaitGroup
	for i, consumer := range consumers {
		loops.Go(func() {
			var last client.MessageID
			acked, bytes := time.Now(), 0
			for n := range r.Ends[i] {
				m, err := consumer.Receive(ctx)
				if err != nil {
					errs[i] = err
					return
				}
				bytes += len(m.Key()) + int(m.Payload()[0])
				last = m.ID()
				if n%256 == 0 && time.Since(acked) >= ackInterval {
					if errs[i] = consumer.AckIDCumulative(last); errs[i] != nil {
						return
					}
					acked = time.Now()
				}
			}
			if bytes > 0 {
				errs[i] = consumer.AckIDCumulative(last)
			}
		})
	}
	loops.Wait()
	meter.Stop()
	return errors.Join(errs...)
}

// readSource reads the source without a pipeline: Fetch, and a commit each second.
func readSource(ctx context.Context, r reading, meter *bench.Meter) error {
	src, err := r.source(meter)
	if err != nil {
		return err
	}
	errs := make([]error, len(r.Ends))
	var loops sync.WaitGroup
	for range r.Ends {
		p, err := src.Accept(ctx)
		if err != nil {
			return err
		}
		n := p.ID().Partition
		loops.Go(func() { errs[n] = errors.Join(loop(ctx, p, r.Ends[n]), p.Release(context.WithoutCancel(ctx))) })
	}
	loops.Wait()
	return errors.Join(errors.Join(errs...), src.Close())
}

func loop(ctx context.Context, p source.Partition, end int) error {
	b := source.Batch{MaxMessages: 256, MaxBytes: 1 << 20} // the pipeline's defaults
	bytes, committed := 0, time.Now()
	for n := 0; n < end; {
		b.Messages = b.Messages[:0]
		if err := p.Fetch(ctx, &b); err != nil {
			return err
		}
		for i := range b.Messages {
			bytes += len(b.Messages[i].Key) + int(b.Messages[i].Value[0])
		}
		n += len(b.Messages)
		if n < end && time.Since(committed) < ackInterval {
			continue
		}
		if _, err := p.Commit(ctx, &commit.Progress{Log: p.Restored().Log, Epoch: p.ID().Epoch, Frontier: b.Next}); err != nil {
			return err
		}
		committed = time.Now()
	}
	if bytes == 0 {
		return fmt.Errorf("%v: all messages are empty", p.ID())
	}
	return nil
}
