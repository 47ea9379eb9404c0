package main

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
	"github.com/keystrand/keystrand/source/pulsar"
)

const partitions = 4

// onPulsar runs each work on a topic of its own.
type onPulsar struct{ *pulsarbench.Cluster }

func newOnPulsar(url, admin string) (onPulsar, error) {
	if admin == "" {
		admin = pulsarbench.AdminOf(url)
	}
	p, err := pulsarbench.New(url, admin)
	return onPulsar{p}, err
}

func (p onPulsar) run(w *work, workers int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	topic, err := p.Fill(ctx, partitions, w.keys.Len(), pulsarbench.Batching{}, func(i int) (int, []byte, []byte) {
		return w.keys.Number(i) % partitions, w.keys.At(i), binary.BigEndian.AppendUint64(nil, uint64(i))
	})
	if err != nil {
		return err
	}
	src, err := pulsar.New(p.URL, "workers", []string{topic}, pulsar.Config{})
	if err != nil {
		return err
	}
	w.number = func(m *keystrand.Message) int { return int(binary.BigEndian.Uint64(m.Value)) }
	go func() {
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := runPipeline(ctx, bench.Gather(src, partitions, func() { w.start = time.Now() }), w, workers); err != nil {
		return err
	}
	return p.Forget(context.WithoutCancel(ctx))
}
