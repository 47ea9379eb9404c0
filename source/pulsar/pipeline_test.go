package pulsar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

// seen records the messages of a handler, by key.
type seen struct {
	mu    sync.Mutex
	all   map[string][]string
	count int
}

func (s *seen) handle(_ context.Context, m *keystrand.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[string(m.Key)] = append(s.all[string(m.Key)], string(m.Value))
	s.count++
	return nil
}

// run runs a pipeline until the total of handled messages is reached, and stops it.
func (s *seen) run(t *testing.T, src *Source, until int, wait time.Duration) {
	t.Helper()
	p, err := pipeline.From(src).Handle(keystrand.HandlerFunc(s.handle)).Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			s.mu.Lock()
			done := s.count >= until
			s.mu.Unlock()
			if done {
				cancel()
			}
			sleep(ctx, 10*time.Millisecond)
		}
	}()
	if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count < until {
		t.Fatalf("handled %d, want %d; report %+v", s.count, until, src.Report())
	}
}

func (s *seen) want(t *testing.T, keys, each int) {
	t.Helper()
	for k := range keys {
		var want []string
		for n := range each {
			want = append(want, fmt.Sprint(n))
		}
		if got := strings.Join(s.all[fmt.Sprint("k", k)], " "); got != strings.Join(want, " ") {
			t.Errorf("key %d: handled %s, want every message once and in order", k, got)
		}
	}
}

func TestPipelineRestartsWithoutReplays(t *testing.T) {
	for _, index := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBroker()
			b.index = index
			b.create("orders", 3)
			for n := range 40 {
				for k := range 6 {
					b.produce(fmt.Sprintf("orders-partition-%d", k%3), keystrand.Message{Key: fmt.Append(nil, "k", k), Value: fmt.Append(nil, n)})
				}
			}
			s := &seen{all: make(map[string][]string)}
			for round := range 3 {
				src, _, err := b.source(Config{}, "orders")
				if err != nil {
					t.Fatal(err)
				}
				s.run(t, src, []int{50, 130, 240}[round], time.Hour)
			}
			s.want(t, 6, 40)
		})
	}
}

func TestLivePipelineRestartsWithoutReplays(t *testing.T) {
	for name, broker := range map[string]func(*testing.T) live{"numbered messages": liveBroker, "as brokers come": liveDefault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := broker(t)
			topic := l.topic(t, 3)
			for p := range 3 {
				var msgs []keystrand.Message
				for n := range 400 {
					for _, k := range []int{p, p + 3} {
						msgs = append(msgs, keystrand.Message{Key: fmt.Append(nil, "k", k), Value: fmt.Append(nil, n)})
					}
				}
				if err := send(t.Context(), l.producer(t, fmt.Sprintf("%s-partition-%d", topic, p), nil), msgs...); err != nil {
					t.Fatal(err)
				}
			}
			s := &seen{all: make(map[string][]string)}
			for round := range 3 {
				src, err := New(l.url, "s", []string{topic}, l.config(t))
				if err != nil {
					t.Fatal(err)
				}
				s.run(t, src, []int{500, 1300, 2400}[round], time.Minute)
			}
			s.want(t, 6, 400)
		})
	}
}
