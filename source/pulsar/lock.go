package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// attached is a consumer, with the contender's count of disconnects before it was attached.
type attached struct {
	client.Consumer
	breaks int
}

// attach takes the lock. It returns nil when the contender must look again: another process is elected, the topic is gone,
// the subscription was moved, the consumer was disconnected at once, or ctx has ended.
func (c *contender) attach(ctx context.Context) *Partition {
	s := c.s
	seeks := s.moves(c)
	cons, ok := try(ctx, c, attempt[attached]{
		what: "attach to", subscription: s.subscription, elected: true, discard: attached.Close,
		get: func() (attached, error) {
			breaks := c.attaching()
			cons, err := c.consume(seeks)
			return attached{Consumer: cons, breaks: breaks}, err
		},
	})
	if !ok {
		return nil
	}
	if seeks {
		c.move(ctx, cons)
		return nil
	}
	restored, err := c.claim(ctx, cons)
	if err != nil {
		s.calls.Go(cons.Close) // at once: it must not keep the lock until the next attempt
	}
	if !c.succeeded(ctx, claiming, err) {
		return nil
	}
	p := newPartition(c, source.ID{Stream: c.stream, Partition: c.number, Epoch: restored.Epoch}, cons.Consumer, restored)
	s.calls.Go(func() { p.acker.Run(ctx) })
	if !c.hold(p, cons.breaks) {
		p.shut()
		return nil
	}
	poke(s.shifted)
	s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "pulsar: partition owned", slog.String("partition", p.id.String()))
	return p
}

// consume attaches a consumer of the partition.
func (c *contender) consume(seeks bool) (client.Consumer, error) {
	return c.s.client.Attach(client.Attachment{
		Topic: c.topic, Subscription: c.s.subscription, Name: c.s.name, Seeks: seeks, Latest: c.latest(),
	})
}

// move moves the subscription as Start says, and closes the consumer. To seek costs it the connection, so another one reads.
func (c *contender) move(ctx context.Context, cons attached) {
	s := c.s
	err := s.calls.Do(ctx, func() error { return s.cfg.Start.check(cons.Consumer, c.stream, c.number) })
	if errors.Is(err, errForeign) {
		s.fail(fmt.Errorf("pulsar: topic %q, subscription %q: Config.Start is After: %w (use an id of a message of this topic)",
			c.topic, s.subscription, err))
	}
	if err == nil && s.cfg.Store != nil && s.cfg.Start.names(c.stream, c.number) {
		err = c.restart(ctx, cons.breaks)
	}
	if err == nil {
		err = s.calls.Do(ctx, func() error {
			defer cons.Close()
			return s.cfg.Start.seek(cons.Consumer, c.stream, c.number)
		})
	}
	if err != nil {
		s.calls.Go(cons.Close) // it must not keep the lock; a call that hangs does, until the connection ends
	}
	if c.succeeded(ctx, seeking, err) {
		s.seeked(c)
	}
}

// hold records the partition that is offered or owned. It reports false if the consumer was disconnected since it had this
// count of breaks, or if the contender must stand off.
func (c *contender) hold(p *Partition, breaks int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.breaks != breaks || c.caution {
		return false
	}
	c.part, c.late = p, true
	if c.early != nil {
		p.unread.Store(c.early)
	}
	return true
}

// drop records that no partition is offered or owned.
func (c *contender) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = nil
	poke(c.s.shifted)
}

// attaching returns how often a consumer of the partition was disconnected, before the next one is attached.
func (c *contender) attaching() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.early = nil
	return c.breaks
}

// disconnects returns how often a consumer of the partition was disconnected.
func (c *contender) disconnects() int { return guarded(&c.mu, &c.breaks) }

// broke ends the ownership: the consumer is disconnected or its topic unloaded, so the lock is free. It does not block.
func (c *contender) broke() {
	c.mu.Lock()
	c.breaks++
	p := c.part
	c.mu.Unlock()
	if p == nil {
		c.poke()
		return
	}
	p.lose("disconnected, or the topic was unloaded")
}

// stumbled records that a consumer may have ended while it was being attached.
func (c *contender) stumbled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.breaks++
		c.poke()
	}
}

// shook records that the candidate was disconnected. If another process is the owner, it loses the partition too, and must
// have time to notice before this process takes it.
func (c *contender) shook() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.caution = true
	}
}

// standOff is the least pause between a disconnect and an attempt to take a partition that another process may have owned.
// The most is twice that.
const standOff = time.Second

// cautious reports whether the contender must stand off.
func (c *contender) cautious() bool { return guarded(&c.mu, &c.caution) }

// standsOff waits if the contender must stand off, and reports whether it did.
func (c *contender) standsOff(ctx context.Context) bool {
	c.mu.Lock()
	caution := c.caution
	c.caution = false
	c.mu.Unlock()
	if caution {
		sleep(ctx, standOff+rand.N(standOff))
	}
	return caution
}
