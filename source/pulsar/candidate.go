package pulsar

import (
	"context"
	"sync"
	"time"
)

// candidates is what the subscription of the election is called behind the name of the real one.
const candidates = "-owner"

// stand makes a candidate. It reports false when the topic is gone or ctx has ended.
func (c *contender) stand(ctx context.Context) (closer, bool) {
	if c.s.cfg.Alone {
		return nil, true
	}
	// What an earlier candidate hears late is not about this one.
	var mu sync.Mutex
	over := false
	changed := func(active bool) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			c.proposed(active)
		}
	}
	candidate, ok := try(ctx, c, "stand for", func() (closer, error) {
		return c.s.client.candidate(candidacy{
			topic: c.topic, subscription: c.s.subscription + candidates, name: c.s.name, changed: changed,
		})
	}, closer.Close)
	if !ok {
		return nil, false
	}
	return &standing{closer: candidate, end: func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}}, true
}

// standing is a candidate that says nothing more once it is closed.
type standing struct {
	closer
	end func()
}

func (s *standing) Close() {
	s.end()
	s.closer.Close()
}

// proposed is called when the broker has chosen: us, or another. It repeats itself after an unload.
func (c *contender) proposed(active bool) {
	c.mu.Lock()
	c.active, c.told = active, true
	c.mu.Unlock()
	c.poke()
}

// unheard notes that the broker may have proposed us without our hearing of it: the library drops what comes before it has
// the answer that our candidate is there. Where we believe that we are not proposed, that would be for good.
func (c *contender) unheard() {
	c.mu.Lock()
	c.told = c.active
	c.mu.Unlock()
	c.poke()
}

// How long to wait for the broker's word before another candidate is made.
const (
	firstPatience = 3 * time.Second
	mostPatience  = time.Minute
)

// hears waits for the broker's first word about our candidate, which comes as soon as it has chosen: after a second,
// unless configured otherwise. It reports false when there was none for too long.
func (c *contender) hears(ctx context.Context, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		told := c.told || c.gone || c.s.cfg.Alone
		c.mu.Unlock()
		if told {
			return true
		}
		select {
		case <-c.changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return true
		}
	}
}

// orphaned waits for a change. It reports true when there was none for long, and nobody holds the partition: a broker can
// forget to tell the one it has chosen, when candidates come and go at the same moment. Another candidate makes it choose
// again.
func (c *contender) orphaned(ctx context.Context) bool {
	timer := time.NewTimer(c.s.cfg.WatchInterval)
	defer timer.Stop()
	select {
	case <-c.changed:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	held, err := call(ctx, c.s, func() (consumer, error) {
		return c.s.client.attach(attachment{
			topic: c.topic, subscription: c.s.subscription, name: c.s.name,
			latest: c.s.cfg.Start.kind == startLatest && !c.late,
		})
	}, consumer.Close)
	if err != nil {
		return false
	}
	c.s.apart(held.Close)
	active, _ := c.look()
	return !active
}
