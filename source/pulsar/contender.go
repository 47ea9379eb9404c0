package pulsar

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
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
	late   bool // found after the first look at the topics

	changed chan struct{}               // something below has changed
	weary   *backoff.ExponentialBackOff // between ownerships that end at once; of run

	mu     sync.Mutex
	active bool       // the broker proposes us
	told   bool       // it has said so, or that it does not
	gone   bool       // the topic does not exist
	part   *Partition // offered or owned
	breaks int        // how often a connection of it has gone
	shaken bool       // the candidate's has, and we were not the owner
}

func newContender(s *Source, topic, stream string, number int32, late bool) *contender {
	return &contender{s: s, topic: topic, stream: stream, number: number, late: late, changed: make(chan struct{}, 1)}
}

func (c *contender) poke() { poke(c.changed) }

// proposed is called when the broker has chosen: us, or another. It repeats itself after an unload.
func (c *contender) proposed(active bool) {
	c.mu.Lock()
	c.active, c.told = active, true
	c.mu.Unlock()
	c.poke()
}

// hold notes which partition is offered or owned. It reports false when a connection has gone since breaks was asked for.
func (c *contender) hold(p *Partition, breaks int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.breaks != breaks {
		return false
	}
	c.part, c.shaken = p, false
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
	if p != nil {
		p.lose("its connection has gone, or its topic was unloaded")
	}
}

// stumbled notes that what is being attached may have ended already, without a word of its own.
func (c *contender) stumbled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.breaks++
	}
}

// shook is called when the connection of the candidate goes, like broke. Where another is the owner, it is losing the
// partition, too, and has to hear of it before we take it.
func (c *contender) shook() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.part == nil {
		c.shaken = true
		c.breaks++
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

// unheard notes that the broker may have proposed us without our hearing of it: the library drops what comes before it has
// the answer that our candidate is there. Where we believe that we are not proposed, that would be for good.
func (c *contender) unheard() {
	c.mu.Lock()
	c.told = c.active
	c.mu.Unlock()
	c.poke()
}

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

// How long to wait for the broker's word before another candidate is made.
const (
	firstPatience = 3 * time.Second
	mostPatience  = time.Minute
)

// vanished notes that the topic is gone, or is there again.
func (c *contender) vanished(gone bool) {
	c.mu.Lock()
	c.gone = gone
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

// candidates is what the subscription of the election is called behind the name of the real one.
const candidates = "-owner"

// run contends until ctx ends.
func (c *contender) run(ctx context.Context) {
	patience := newBackoff(firstPatience, mostPatience)
	for ctx.Err() == nil {
		if _, gone := c.look(); gone || !c.s.wanted() {
			c.wait(ctx)
			continue
		}
		candidate, ok := c.stand(ctx)
		if !ok {
			continue
		}
		if c.hears(ctx, patience.NextBackOff()) {
			patience.Reset()
			c.contend(ctx)
		}
		if candidate != nil {
			c.mu.Lock()
			c.active, c.told = false, false
			c.mu.Unlock()
			c.s.apart(candidate.Close)
		}
	}
}

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

// contend takes the partition whenever it is proposed to us. It returns when the candidate is to be closed: ctx has
// ended, the topic is gone, the partition was given up and nobody asks for another, or the broker's word was missed.
func (c *contender) contend(ctx context.Context) {
	for ctx.Err() == nil && !c.s.over() {
		active, gone := c.look()
		switch {
		case gone:
			return
		case active && c.settles(ctx):
			continue
		case !active && !c.hears(ctx, firstPatience):
			return
		case !active:
			if active, _ := c.look(); !active && c.orphaned(ctx) {
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
)

// rest waits before a partition is attached again that seems to be at its end: its topic is terminated and read. The library
// closes the connection for that, with all that others have on it, each time one attaches. It does not say whose end it was;
// the one that never lasts nor brings a message is found by and by.
func (c *contender) rest(ctx context.Context, p *Partition, lasted time.Duration) {
	_, lost, _ := p.told()
	if !lost || !c.s.ended() || lasted >= quickEnd || p.handed.brought() {
		c.weary = nil
		return
	}
	if c.weary == nil {
		c.weary = newBackoff(firstRest, mostRest)
		c.weary.Multiplier = 2
	}
	sleep(ctx, c.weary.NextBackOff())
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

// own waits until the partition is over: withdrawn before it was accepted, or released. asked: it was asked back or lost.
func (c *contender) own(ctx context.Context, p *Partition) (asked bool) {
	defer c.drop()
	told := false
	for {
		leaving, lost, released := p.told()
		if lost && !told {
			told = true
			p.detach()
			c.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the partition is lost",
				slog.String("partition", p.id.String()), slog.String("why", p.reason()))
		}
		if released {
			return leaving || lost
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
			p.ask()
		}
		if !c.wait(ctx) {
			if c.s.withdraw(p) {
				p.shut()
			}
			return true
		}
	}
}

// shut closes a partition that nobody has accepted, or that nobody has released when the source is closed.
func (p *Partition) shut() {
	p.mu.Lock()
	already := p.released
	p.released = true
	p.mu.Unlock()
	if !already {
		p.detach()
	}
}

// Between two tries to get a lock that somebody else has.
const (
	firstBusyRetry = 50 * time.Millisecond
	mostBusyRetry  = 250 * time.Millisecond
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
	moves := s.cfg.Start.moves() && !s.sought(c.topic)
	cons, ok := try(ctx, c, "attach to", func() (attached, error) {
		breaks := c.broken()
		cons, err := s.client.attach(attachment{
			topic: c.topic, subscription: s.subscription, name: s.name, moves: moves,
			latest: s.cfg.Start.kind == startLatest && !c.late,
		})
		return attached{consumer: cons, breaks: breaks}, err
	}, attached.Close)
	if !ok {
		return nil
	}
	fail := func() *Partition {
		s.apart(cons.Close)
		return nil
	}
	if moves {
		err := s.bounded(ctx, func() error {
			defer cons.Close() // another reads on: a consumer that is moved loses its connection
			return s.cfg.Start.seek(cons, c.stream, c.number)
		})
		if err != nil {
			s.health.Fails(ctx, "seek "+c.name(), fmt.Errorf("subscription %q: %w", s.subscription, err))
			sleep(ctx, mostBusyRetry)
			return nil
		}
		s.health.Works(ctx, "seek "+c.name())
		s.seeked(c.topic)
		return nil
	}
	epoch := s.nextEpoch(c.topic)
	restored := &commit.Progress{Epoch: epoch}
	if s.cfg.Store != nil {
		var err error
		if restored, err = s.cfg.Store.Claim(ctx, c.stream, c.number, epoch); err != nil {
			if ctx.Err() == nil {
				s.health.Fails(ctx, "claim "+c.name(), err)
				sleep(ctx, mostBusyRetry)
			}
			return fail()
		}
		s.health.Works(ctx, "claim "+c.name())
		s.claimed(c.topic, restored.Epoch)
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

func (c *contender) name() string { return fmt.Sprintf("%s/%d", c.stream, c.number) }

// try calls f until it succeeds. It reports false when there is no use in going on: ctx has ended, the topic is gone, we
// are not proposed, or the source has failed.
func try[T any](ctx context.Context, c *contender, what string, f func() (T, error), discard func(T)) (T, bool) {
	var nothing T
	s := c.s
	what += " " + c.name()
	defer s.health.Forget(what)
	bo, held := newBackoff(firstRetry, mostRetry), newBackoff(firstBusyRetry, mostBusyRetry)
	var since time.Time
	for {
		v, err := call(ctx, s, f, discard)
		if err == nil {
			return v, true
		}
		if ctx.Err() != nil {
			return nothing, false
		}
		delay := bo.NextBackOff()
		switch {
		case busy(err):
			if since.IsZero() {
				since = time.Now()
			}
			err = fmt.Errorf("%w: %s, subscription %q: %w", ErrBusy, c.name(), s.subscription, err)
			switch held := time.Since(since) >= s.cfg.BusyTimeout; {
			case held && s.cfg.Alone:
				s.fail(fmt.Errorf("%w (another process, or another program; with Alone there may be one only)", err))
				return nothing, false
			case held:
				s.health.Fails(ctx, what, err)
			}
			delay = held.NextBackOff()
		case missing(err):
			c.vanished(true)
			poke(s.look)
			return nothing, false
		default:
			if f := s.fatal(c.topic, err); f != nil {
				s.fail(f)
				return nothing, false
			}
			s.health.Fails(ctx, what, fmt.Errorf("subscription %q: %w", s.subscription, s.lines.because(err)))
		}
		if !sleep(ctx, delay) || s.over() {
			return nothing, false
		}
		if active, gone := c.look(); gone || what[0] == 'a' && (!active || c.waits()) {
			return nothing, false
		}
	}
}
