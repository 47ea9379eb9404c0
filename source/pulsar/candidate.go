package pulsar

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// candidates is what the subscription of the election is called behind the name of the real one.
const candidates = "-owner"

// campaign keeps a candidate until ctx ends or the source is over, owner or not. In place of one that the broker's word was not
// heard about for too long it makes another, which the broker says a word about again. What we own is not touched by
// that: what the word was is not known, and the lock keeps everybody out whom the broker has chosen meanwhile.
func (c *contender) campaign(ctx context.Context, patience *backoff.ExponentialBackOff) {
	if c.s.cfg.Alone {
		return
	}
	for ctx.Err() == nil && !c.s.over() {
		if _, gone := c.look(); gone {
			select {
			case <-c.news:
			case <-ctx.Done():
			}
			continue
		}
		if quit, ok := c.stand(ctx); ok {
			c.listen(ctx, patience)
			quit()
		}
	}
}

// stand makes a candidate, and returns what closes it. It reports false when the topic is gone, the source is over, or ctx
// has ended.
func (c *contender) stand(ctx context.Context) (quit func(), ok bool) {
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
	deafen := func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
	c.unheard()
	candidate, ok := try(ctx, c, aim[closer]{what: "stand for", subscription: c.s.subscription + candidates, discard: closer.Close, get: func() (closer, error) {
		return c.s.client.candidate(candidacy{
			topic: c.topic, subscription: c.s.subscription + candidates, name: c.s.name, changed: changed,
		})
	}})
	if !ok {
		deafen()
		return nil, false
	}
	return func() {
		deafen()
		c.together()
		c.s.apart(candidate.Close)
	}, true
}

// proposed is called when the broker has chosen: us, or another. It repeats itself after an unload.
func (c *contender) proposed(active bool) {
	c.mu.Lock()
	c.active, c.told = active, true
	c.mu.Unlock()
	c.poke()
}

// unheard notes that the broker says a word about our candidate anew, as it does when one is attached, also again. The library drops
// what comes before it has the answer that the candidate is there. Until the word is heard, the last one counts.
func (c *contender) unheard() {
	c.mu.Lock()
	c.told, c.apart, c.dead = false, time.Time{}, false
	c.mu.Unlock()
	poke(c.news)
}

// parted notes that the connection of our candidate has gone.
func (c *contender) parted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apart.IsZero() {
		c.apart = time.Now()
	}
}

// together notes that no candidate of ours is without a connection.
func (c *contender) together() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart = time.Time{}
}

// apartSince returns when the connection of our candidate went, zero if it has one.
func (c *contender) apartSince() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apart
}

// How long to wait for the broker's word before another candidate is made.
const (
	firstPatience = 3 * time.Second
	mostPatience  = time.Minute
)

// listen waits until the broker's word about our candidate was missing for too long, the library has given the candidate up, the
// source is over, or ctx ends. The word comes as soon as the broker has chosen: after a second, unless configured otherwise.
func (c *contender) listen(ctx context.Context, patience *backoff.ExponentialBackOff) {
	timer := time.NewTimer(mostPatience)
	defer timer.Stop()
	var late <-chan time.Time // as long as it is missing
	for !c.s.over() && !c.isDead() {
		switch _, told := c.heard(); {
		case told:
			late = nil
			patience.Reset()
		case late == nil:
			timer.Reset(patience.NextBackOff())
			late = timer.C
		}
		select {
		case <-c.news:
		case <-late:
			return
		case <-ctx.Done():
			return
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
	if active, told := c.heard(); active || !told {
		return false
	}
	held, err := call(ctx, c.s, func() (consumer, error) {
		return c.s.client.attach(attachment{
			topic: c.topic, subscription: c.s.subscription, name: c.s.name, latest: c.latest(),
		})
	}, consumer.Close)
	if err != nil {
		return false
	}
	c.s.apart(held.Close)
	active, _ := c.heard()
	return !active
}

// isDead tells whether the library has given up our candidate.
func (c *contender) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// heard returns the broker's last word, and whether it is about the candidate as it is attached now.
func (c *contender) heard() (active, told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, c.told
}
