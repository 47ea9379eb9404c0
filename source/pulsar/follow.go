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
	at    ack.Position
	armed bool // a timer will report it
	due   bool // the timer has
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
	if c.read.armed || c.read.at == at {
		return
	}
	c.read.armed = true
	time.AfterFunc(followEvery, func() {
		at, _ := p.acker.Last()
		c.mu.Lock()
		c.read = follower{at: at, due: true}
		c.mu.Unlock()
		poke(c.news)
	})
}

// follows returns the position to move the subscription to, if that is due.
func (c *contender) follows() (ack.Position, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.read.due
	c.read.due = false
	return c.read.at, due
}
