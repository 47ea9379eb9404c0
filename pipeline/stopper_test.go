package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// stopper is a source that records its calls in order.
type stopper struct {
	source.Source
	atEnd func() // called before Accept returns its error; nil for none

	mu   sync.Mutex
	told []string
}

func (s *stopper) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, what)
}

func (s *stopper) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		if s.atEnd != nil {
			s.atEnd()
		}
		s.tell("no more")
		return nil, err
	}
	return stopperPart{p, s}, nil
}

func (s *stopper) Stop() { s.tell("stop") }

func (s *stopper) Close() error {
	s.tell("close")
	return s.Source.Close()
}

type stopperPart struct {
	source.Partition
	s *stopper
}

func (p stopperPart) Release(ctx context.Context) error {
	p.s.tell("release")
	return p.Partition.Release(ctx)
}

func TestStopIsCalledBeforeThePartitionsDrain(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(log *memory.Log, cancel context.CancelFunc)
		fail error
		want []string
	}{
		{name: "ctx ends", end: func(_ *memory.Log, cancel context.CancelFunc) { cancel() }, want: []string{"no more", "stop", "release", "close"}},
		{name: "a failure", end: func(*memory.Log, context.CancelFunc) {}, fail: errors.New("boom"), want: []string{"no more", "stop", "release", "close"}},
		{name: "the source has no more", end: func(log *memory.Log, _ context.CancelFunc) { log.Close() }, want: []string{"release", "no more", "close"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(2, 2)...)
				src := &stopper{Source: memory.NewSource(memory.Config{}, log)}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				run := startWith(t, ctx, pipeline.From(src).Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
					if m.Offset == 0 && c.fail != nil {
						return c.fail
					}
					time.Sleep(10 * time.Second)
					return nil
				})))
				time.Sleep(time.Second)
				c.end(log, cancel)
				if err := run.wait(); !errors.Is(err, c.fail) {
					t.Errorf("Run = %v", err)
				}
				if !slices.Equal(src.told, c.want) {
					t.Errorf("calls of the source = %q, want %q", src.told, c.want)
				}
			})
		})
	}
}

// A source that has no more is not told to stop, even if ctx ends at the same moment.
func TestStopIsNotCalledAfterTheEndOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Close()
		ctx, cancel := context.WithCancel(t.Context())
		src := &stopper{Source: memory.NewSource(memory.Config{}, log), atEnd: cancel}
		run := startWith(t, ctx, pipeline.From(src).Handle(keystrand.HandlerFunc(nothing)))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(src.told, "stop") {
			t.Errorf("calls of the source = %q, want no stop", src.told)
		}
	})
}
