package pulsar

import (
	"time"

	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

// followEvery is how far the election's subscription may be behind the messages that the owner has read, in time. Nothing
// runs while no messages come.
const followEvery = 5 * time.Second

// follower says how far the owner has read, for the subscription of the election. The mu of its contender guards it.
type follower struct {
	last  ack.Position // that the owner had read at its last commit
	at    ack.Position // to which the subscription was moved
	timer *time.Timer  // will report that at is behind; nil: none runs
	due   bool         // the timer has
}

// follow has the candidate move its subscription to the last message that was delivered, soon.
func (p *Partition) follow() {
	c := p.owner
	at, some := p.acker.Last()
	if !some || c.s.cfg.Alone {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.last = at
	if c.read.timer != nil || c.read.at == at {
		return
	}
	c.read.timer = time.AfterFunc(followEvery, func() {
		c.mu.Lock()
		c.read.timer, c.read.due = nil, true
		c.mu.Unlock()
		poke(c.news)
	})
}

// follows returns the position to move the subscription of the election to, and reports whether that is due. A candidate that
// withdraws moves it at once: the next owner may find nothing to read.
func (c *contender) follows(withdraws bool) (ack.Position, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part != nil && withdraws {
		if last, some := c.part.acker.Last(); some {
			c.read.last = last
		}
	}
	moves := (c.read.due || withdraws) && c.read.at != c.read.last
	c.read.due = false
	if moves {
		c.read.at = c.read.last
	}
	return c.read.last, moves
}

// unfollow stops the timer.
func (c *contender) unfollow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.timer != nil {
		c.read.timer.Stop()
	}
}
