package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

func TestMessagesOfAKeyAreHandledInOrder(t *testing.T) { // seeds 29, 31
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 2)
		for i := range 1000 {
			log.Append(int32(i%2), keystrand.Message{Key: fmt.Appendf(nil, "k%d", i/2%17), Value: fmt.Append(nil, i)})
		}
		log.Close()
		var mu sync.Mutex
		last := map[string]int64{}
		running := map[string]bool{}
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				k := fmt.Sprintf("%d/%s", m.Partition, m.Key)
				mu.Lock()
				if running[k] {
					t.Errorf("I2: two concurrent turns of %s", k)
				}
				if l, ok := last[k]; ok && l >= m.Offset {
					t.Errorf("I1: %s: offset %d after %d", k, m.Offset, l)
				}
				running[k], last[k] = true, m.Offset
				mu.Unlock()
				time.Sleep(50 * time.Millisecond)
				mu.Lock()
				running[k] = false
				mu.Unlock()
				return nil
			})).
			Limits(pipeline.Limits{Workers: 100}).
			Build()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, bound := time.Since(start), 30*50*time.Millisecond; got > bound+100*time.Millisecond {
			t.Errorf("took %v, the longest chain takes %v", got, bound)
		}
		for i := range int32(2) {
			if c := log.Group("").Committed(i); c == nil || c.Frontier != 500 {
				t.Errorf("partition %d: committed %+v, want 500", i, c)
			}
		}
	})
}

func TestStopPolicyDoesNotPassTheFailedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		for i := range 100 {
			log.Append(0, keystrand.Message{Key: fmt.Appendf(nil, "k%d", i)})
		}
		boom := errors.New("boom")
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if m.Offset == 42 {
					return boom
				}
				return nil
			})).
			Build()
		if err != nil {
			t.Fatal(err)
		}
		err = p.Run(t.Context())
		f, ok := errors.AsType[*pipeline.FailureError](err)
		if !ok || f.Offset != 42 || !errors.Is(err, boom) {
			t.Fatalf("Run = %v", err)
		}
		if c := log.Group("").Committed(0); c != nil && (c.Frontier > 42 || c.Settled(42)) {
			t.Errorf("I3: committed %+v, which passes message 42", c)
		}
	})
}
