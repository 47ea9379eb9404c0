package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/keystrand/keystrand/source"
)

// attached is a consumer with what the contender's breaks were before it was.
type attached struct {
	consumer
	breaks int
}

// attach takes the lock. It returns nil when there is reason to look again: we are not proposed any more, the topic is
// gone, the subscription was moved, the connection has gone at once, or ctx has ended.
func (c *contender) attach(ctx context.Context) *Partition {
	s := c.s
	moves := s.cfg.Start.moves() && !s.sought(c)
	cons, ok := try(ctx, c, aim[attached]{what: "attach to", subscription: s.subscription, proposed: true, discard: attached.Close, get: func() (attached, error) {
		breaks := c.broken()
		cons, err := s.client.attach(attachment{
			topic: c.topic, subscription: s.subscription, name: s.name, moves: moves, latest: c.latest(),
		})
		return attached{consumer: cons, breaks: breaks}, err
	}})
	if !ok {
		return nil
	}
	if moves {
		c.move(ctx, cons)
		return nil
	}
	restored, err := c.claim(ctx, cons)
	if err != nil {
		s.apart(cons.Close) // at once: it must not keep the lock until the next try
	}
	if !c.begun(ctx, claiming, err) {
		return nil
	}
	p := newPartition(c, source.ID{Stream: c.stream, Partition: c.number, Epoch: restored.Epoch}, cons.consumer, restored)
	s.running.Go(func() { p.acker.run(ctx) })
	if !c.hold(p, cons.breaks) {
		p.shut()
		return nil
	}
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "pulsar: owns", slog.String("partition", p.id.String()))
	return p
}

// move moves the subscription as Start says, and closes the consumer: moving costs it its connection, another reads on.
func (c *contender) move(ctx context.Context, cons attached) {
	s := c.s
	err := s.bounded(ctx, func() error { return s.cfg.Start.check(cons.consumer, c.stream, c.number) })
	if errors.Is(err, errForeign) {
		s.fail(fmt.Errorf("pulsar: topic %q, subscription %q: Config.Start is After: %w (take an id that a message of this topic had)",
			c.topic, s.subscription, err))
	}
	if err == nil && s.cfg.Store != nil && s.cfg.Start.names(c.stream, c.number) {
		err = c.restart(ctx, cons.breaks)
	}
	if err == nil {
		err = s.bounded(ctx, func() error {
			defer cons.Close()
			return s.cfg.Start.seek(cons.consumer, c.stream, c.number)
		})
	}
	if err != nil {
		s.apart(cons.Close) // it must not keep the lock; with a call that hangs it does until the connection ends
	}
	if c.begun(ctx, seeking, err) {
		s.seeked(c)
	}
}

// hold notes which partition is offered or owned. It reports false when a connection has gone since breaks was asked for, or
// that of the candidate a short while before.
func (c *contender) hold(p *Partition, breaks int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.breaks != breaks || c.shaken {
		return false
	}
	c.part, c.late = p, true
	return true
}

// drop notes that nothing is offered or owned.
func (c *contender) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = nil
}

func (c *contender) broken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.breaks
}

// broke is called when the connection of the consumer goes, or its topic is unloaded, before anything follows from it:
// the lock is gone, and with it the ownership. It must not block.
func (c *contender) broke() {
	c.mu.Lock()
	c.breaks++
	p := c.part
	c.mu.Unlock()
	if p == nil {
		c.poke()
		return
	}
	p.lose("its connection has gone, or its topic was unloaded")
}

// stumbled notes that what is being attached may have ended already, without a word of its own.
func (c *contender) stumbled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.breaks++
		c.poke()
	}
}

// shook is called when the connection of the candidate goes, like broke. Where another is the owner, it is losing the
// partition, too, and has to hear of it before we take it.
func (c *contender) shook() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.shaken = true
	}
}

// Between a broken connection and the first try to take a partition that another may have had: twice at most.
const standOff = time.Second

// waits tells whether the connection has gone a short while ago.
func (c *contender) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shaken
}

// settles waits if the connection has gone a short while ago. It reports whether it has.
func (c *contender) settles(ctx context.Context) bool {
	c.mu.Lock()
	shaken := c.shaken
	c.shaken = false
	c.mu.Unlock()
	if shaken {
		sleep(ctx, standOff+rand.N(standOff))
	}
	return shaken
}
