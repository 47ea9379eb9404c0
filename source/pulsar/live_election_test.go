package pulsar

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Two processes, with one candidate name each, own half of the partitions each.
func TestLivePartitionsAreSpread(t *testing.T) {
	l := liveBroker(t)
	topic := l.topic(t, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // a hang guard
	var mu sync.Mutex
	var owned [2]int // guarded by mu
	changed := make(chan struct{}, 1)
	count := func(i, n int) {
		mu.Lock()
		owned[i] += n
		mu.Unlock()
		poke(changed)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i := range owned {
		r := l.reader(t, l.config(t), "s", topic)
		running.Go(func() {
			for {
				p, err := r.s.Accept(ctx)
				if err != nil {
					return
				}
				count(i, 1)
				running.Go(func() {
					select {
					case <-p.Leaving():
					case <-ctx.Done():
					}
					if err := p.Release(context.WithoutCancel(ctx)); err != nil {
						t.Errorf("release of %v = %v", p.ID(), err)
					}
					count(i, -1)
				})
			}
		})
	}
	for {
		mu.Lock()
		spread := owned == [2]int{4, 4}
		now := owned
		mu.Unlock()
		if spread {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the two processes own %v of 8 partitions", now)
		}
	}
}
