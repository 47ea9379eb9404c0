package pulsar

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// contender tries to own one partition, again and again, as long as the source runs.
//
// Ownership is an election and a lock. The election proposes: a candidate, a consumer of a subscription beside the real
// one that gets no messages, of which the broker makes one active. The lock decides: the exclusive consumer of the
// real subscription. The active one takes it when the owner before has closed its own, and that one closes it when it
// was told that it is not active any more and has drained. An election on the messages themselves (a Failover
// subscription) cannot do that: the next one gets them while the one before still handles them.
type contender struct {
	s      *Source
	topic  string // of the partition alone
	stream string
	number int32
	before *contender    // of the same partition, of a topic that is gone; nil: none
	ended  chan struct{} // closed when run has returned

	passing bool // it ends with its topic; guarded by the mu of the source

	changed chan struct{}               // something below has changed; for run
	news    chan struct{}               // the same; for campaign
	weary   *backoff.ExponentialBackOff // between ownerships that end at once; of run
	atEnd   bool                        // told that its topic may have ended; of run
	faults  *backoff.ExponentialBackOff // between tries to begin one, with the lock taken; of run

	mu     sync.Mutex
	active bool       // the broker proposes us, as last heard
	told   bool       // it has said so, or that it does not, since the candidate was last attached
	gone   bool       // the topic does not exist
	late   bool       // it was found after the first look at the topic, was gone once, or has been owned: Latest is over
	part   *Partition // offered or owned
	breaks int        // how often a connection of it has gone
	shaken bool       // the candidate's has, and we were not the owner
	apart  time.Time  // when the candidate's has; zero while it is attached, and where there is none
	dead   bool       // the library has given the candidate up
}

func newContender(s *Source, topic, stream string, number int32, late bool) *contender {
	return &contender{
		s: s, topic: topic, stream: stream, number: number, late: late,
		changed: make(chan struct{}, 1), news: make(chan struct{}, 1), ended: make(chan struct{}),
		faults: newBackoff(firstRetry, mostRetry),
	}
}

func (c *contender) poke() {
	poke(c.changed)
	poke(c.news)
}

func (c *contender) name() string { return fmt.Sprintf("%s/%d", c.stream, c.number) }

// isPartition tells whether the topic is one of several of its stream, or may be.
func (c *contender) isPartition() bool {
	return strings.HasSuffix(c.topic, fmt.Sprintf("-partition-%d", c.number))
}

// vanished notes that the topic is gone, or is there again: then as another one, to be read from its first message.
func (c *contender) vanished(gone bool) {
	c.mu.Lock()
	c.gone, c.late = gone, c.late || gone
	c.mu.Unlock()
	c.poke()
}

// latest tells whether the subscription, if there is none, is to begin at the end of the log. One that somebody has deleted, or that
// of a topic that was made again, would skip there what nobody has handled.
func (c *contender) latest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s.cfg.Start.kind == startLatest && !c.late
}

// died notes that the topic is gone, and that the library has given up the candidate because of that: it does not come back when
// the topic does.
func (c *contender) died() {
	c.mu.Lock()
	c.gone, c.dead, c.late = true, true, true
	c.mu.Unlock()
	c.poke()
}

func (c *contender) look() (active, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active || c.s.cfg.Alone, c.gone
}

// wait waits until the contender's state has changed. It reports false when ctx has ended.
func (c *contender) wait(ctx context.Context) bool {
	select {
	case <-c.changed:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// run contends until ctx ends, or the topic is gone for good.
func (c *contender) run(ctx context.Context) {
	defer close(c.ended)
	if c.before != nil {
		select {
		case <-c.before.ended:
		case <-ctx.Done():
			return
		}
		c.before = nil
	}
	patience := newBackoff(firstPatience, mostPatience)
	for ctx.Err() == nil {
		if c.s.retire(c) {
			return
		}
		if _, gone := c.look(); gone || !c.s.wanted() {
			c.wait(ctx)
			continue
		}
		campaign, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.campaign(campaign, patience)
		}()
		c.contend(ctx)
		end()
		<-ended
		c.mu.Lock()
		c.active = false
		c.mu.Unlock()
	}
}

// contend takes the partition whenever it is proposed to us. It returns when there is to be no candidate, or another one:
// ctx has ended, the topic is gone, the partition was given up and nobody asks for another, or the broker has told nobody.
func (c *contender) contend(ctx context.Context) {
	defer c.untroubled()
	for ctx.Err() == nil && !c.s.over() {
		active, gone := c.look()
		switch {
		case gone:
			return
		case active && c.settles(ctx):
			continue
		case !active:
			c.untroubled()
			if c.orphaned(ctx) {
				return
			}
			continue
		}
		p := c.attach(ctx)
		if p == nil {
			continue
		}
		c.s.offer(p)
		begin := time.Now()
		asked := c.own(ctx, p)
		c.rest(ctx, p, time.Since(begin))
		if !asked && !c.s.wanted() {
			return
		}
	}
}

// Between two tries to own a partition that ends its own connection. An ownership that lasts longer was not ended by itself.
const (
	firstRest = time.Second
	mostRest  = 5 * time.Minute
	quickEnd  = 10 * time.Second
	tellsEnd  = time.Minute
)

// rest waits before a partition is attached again that seems to be at its end: its topic is terminated and read. The library
// closes the connection for that, with all that others have on it, each time one attaches. It does not say whose end it was;
// the one that never lasts nor brings a message is found by and by.
func (c *contender) rest(ctx context.Context, p *Partition, lasted time.Duration) {
	if _, lost := p.tenure.Lost(); !lost || !c.s.ended() || lasted >= quickEnd || p.handed.brought() {
		c.weary, c.atEnd = nil, false
		return
	}
	if c.weary == nil {
		c.weary = newBackoff(firstRest, mostRest)
		c.weary.Multiplier = 2
	}
	pause := c.weary.NextBackOff()
	if pause >= tellsEnd && !c.atEnd { // others that ended with it have lasted by then, or nearly all
		c.atEnd = true
		c.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the topic may be terminated and read to its end, it is attached ever less often",
			slog.String("partition", p.id.String()))
	}
	sleep(ctx, pause)
}

// own waits until the partition is over: withdrawn before it was accepted, or released. asked: it was asked back or lost.
func (c *contender) own(ctx context.Context, p *Partition) (asked bool) {
	defer c.drop()
	told := false
	for {
		why, lost := p.tenure.Lost()
		if lost && !told {
			told = true
			p.detach()
			c.s.lost(p)
			c.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the partition is lost",
				slog.String("partition", p.id.String()), slog.String("why", why))
		}
		if p.free.Load() {
			return p.tenure.Over()
		}
		active, gone := c.look()
		if (ctx.Err() != nil || gone || !active || lost || c.s.over()) && c.s.withdraw(p) {
			p.shut()
			return true
		}
		switch {
		case lost:
		case gone:
			p.lose("the topic is gone")
		case !active:
			p.revoke()
		}
		if !c.wait(ctx) {
			if c.s.withdraw(p) {
				p.shut()
			}
			return true
		}
	}
}
