package pulsar

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// candidates is appended to the subscription's name for the election.
const candidates = "-owner"

// campaign keeps a candidate in the election until ctx ends or the source is over, whether it is the owner or not. If no
// message of the broker arrives about a candidate for too long, campaign replaces it: the broker sends one about the new
// candidate. An ownership continues meanwhile, since the missed message is unknown, and the lock keeps out a process that was
// elected.
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
		if candidate, quit, ok := c.stand(ctx); ok {
			c.listen(ctx, candidate, patience)
			quit()
		}
	}
}

// stand joins the election, and returns the candidate and a function that withdraws it. It reports false when the topic is
// gone, the source is over, or ctx has ended.
func (c *contender) stand(ctx context.Context) (candidate client.Candidate, quit func(), ok bool) {
	// Late messages about a former candidate do not count.
	var mu sync.Mutex
	over := false
	changed := func(active bool) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			c.elected(active)
		}
	}
	deafen := func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
	c.unheard()
	candidate, ok = try(ctx, c, attempt[client.Candidate]{
		what: "join election of", subscription: c.s.subscription + candidates, discard: client.Candidate.Close,
		get: func() (client.Candidate, error) {
			return c.s.client.Join(client.Candidacy{
				Topic: c.topic, Subscription: c.s.subscription + candidates, Name: c.s.name, Changed: changed,
			})
		},
	})
	if !ok {
		deafen()
		return nil, nil, false
	}
	return candidate, func() {
		deafen()
		c.withdrawn()
		at, behind := c.follows(true)
		c.s.calls.Go(func() {
			if behind {
				candidate.Follow(at.Ledger, at.Entry)
			}
			candidate.Close()
		})
	}, true
}

// elected records the broker's choice: this process, or another. The broker repeats it after an unload.
func (c *contender) elected(active bool) {
	c.mu.Lock()
	c.active, c.told, c.unsaid = active, true, false
	c.mu.Unlock()
	c.poke()
	poke(c.s.shifted)
}

// unheard records that the candidate was attached, for the first time or again, so a message of the broker must follow. The
// library drops it if it arrives too early. Until then the last message counts.
func (c *contender) unheard() {
	c.mu.Lock()
	c.told, c.away, c.dead = false, time.Time{}, false
	c.mu.Unlock()
	poke(c.news)
}

// parted records that the candidate was disconnected.
func (c *contender) parted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away.IsZero() {
		c.away = time.Now()
	}
}

// withdrawn records that there is no candidate, so none is disconnected.
func (c *contender) withdrawn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = time.Time{}
}

// awaySince returns when the candidate was disconnected, zero if it is connected.
func (c *contender) awaySince() time.Time { return guarded(&c.mu, &c.away) }

// How long to wait for the broker's message before the candidate is replaced.
const (
	firstPatience = 3 * time.Second
	mostPatience  = time.Minute
)

// listen waits until the broker's message was missing for too long, the library has given up the candidate, the source is
// over, or ctx ends. The message arrives after an election: in a second by default.
func (c *contender) listen(ctx context.Context, candidate client.Candidate, patience *backoff.ExponentialBackOff) {
	timer := time.NewTimer(mostPatience)
	defer timer.Stop()
	var late <-chan time.Time // while the message is missing
	for !c.s.over() && !c.isDead() {
		if at, due := c.follows(false); due {
			c.s.calls.Go(func() { candidate.Follow(at.Ledger, at.Entry) })
		}
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
			c.mu.Lock()
			c.unsaid = true
			c.mu.Unlock()
			poke(c.s.shifted)
			return
		case <-ctx.Done():
			return
		}
	}
}

// orphaned waits for a change. It reports true if there was none for long and no process holds the partition: a broker can
// forget to tell the elected candidate when others come and go at the same moment. A new candidate triggers an election.
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
	held, err := client.Call(ctx, &c.s.calls, func() (client.Consumer, error) { return c.consume(false) }, client.Consumer.Close)
	if err != nil {
		return false
	}
	c.s.calls.Go(held.Close)
	active, _ := c.heard()
	return !active
}

// isDead reports whether the library has given up the candidate.
func (c *contender) isDead() bool { return guarded(&c.mu, &c.dead) }

// heard returns the broker's last message, and whether it is about the candidate as it is attached now.
func (c *contender) heard() (active, told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, c.told
}
