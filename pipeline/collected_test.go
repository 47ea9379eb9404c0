package pipeline_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// A member may own thousands of partitions again and again, such as the tables of a binlog.
func TestReleasedPartitionsAreCollected(t *testing.T) {
	const partitions = 2_000
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("tables", partitions)
		for n := range int32(partitions) {
			log.Append(n, keyed("k"))
		}
		log.Close()
		src := &forgetful{Source: memory.NewSource(memory.Config{}, log)}
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if s := run.Snapshot(); s.Settled != partitions || len(s.Partitions) != 0 {
			t.Errorf("%d messages are settled and %d partitions owned, want %d and 0", s.Settled, len(s.Partitions), partitions)
		}
		runtime.GC()
		kept := 0
		for _, p := range src.accepted {
			if p.Value() != nil {
				kept++
			}
		}
		if kept > 0 || len(src.accepted) != partitions {
			t.Errorf("%d of %d released partitions are still referenced", kept, len(src.accepted))
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// forgetful is a source that keeps only weak pointers to its partitions. At its end Accept blocks instead of io.EOF.
type forgetful struct {
	source.Source
	accepted []weak.Pointer[passed]
}

type passed struct{ source.Partition }

func (s *forgetful) Accept(ctx context.Context) (source.Partition, error) {
	sp, err := s.Source.Accept(ctx)
	if errors.Is(err, io.EOF) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	p := &passed{sp}
	s.accepted = append(s.accepted, weak.Make(p))
	return p, nil
}

// Turns of many messages precede turns of one, so the test also covers a worker's memory of a large turn.
func TestIdlePipelineKeepsNoMessage(t *testing.T) {
	for name, stage := range map[string]func(*pipeline.Builder) *pipeline.Builder{
		"handler": func(b *pipeline.Builder) *pipeline.Builder {
			return b.HandleFunc(func(context.Context, *keystrand.Message) error { time.Sleep(time.Second); return nil })
		},
		"batch": func(b *pipeline.Builder) *pipeline.Builder {
			return b.HandleBatchFunc(func(context.Context, []*keystrand.Message) error { time.Sleep(time.Second); return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				src := &fresh{Source: memory.NewSource(memory.Config{}, log)}
				run := start(t, stage(pipeline.From(src)))
				for _, n := range []int{64, 1, 1} {
					log.Append(0, keysOf(n, 1)...)
					synctest.Wait() // the worker is in its turn, and becomes idle only after the last one
				}
				time.Sleep(10 * time.Minute) // until Fetch has released its buffers
				synctest.Wait()
				runtime.GC()
				kept := 0
				for _, v := range src.values {
					if v.Value() != nil {
						kept++
					}
				}
				if kept > 0 || len(src.values) != 66 {
					t.Errorf("%d of %d settled messages are still in memory", kept, len(src.values))
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// fresh is a source that allocates each message's value, and keeps only a weak pointer to it.
type fresh struct {
	source.Source
	values []weak.Pointer[[1000]byte]
}

func (s *fresh) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	return &freshPartition{p, s}, err
}

type freshPartition struct {
	source.Partition
	s *fresh
}

func (p *freshPartition) Fetch(ctx context.Context, b *source.Batch) error {
	err := p.Partition.Fetch(ctx, b)
	for i := range b.Messages {
		v := new([1000]byte)
		b.Messages[i].Value = v[:]
		p.s.values = append(p.s.values, weak.Make(v))
	}
	return err
}
