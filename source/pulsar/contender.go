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

// contender tries to own one partition, again and again, while the source runs.
//
// Ownership takes an election and a lock:
//
//   - The broker elects one of the candidates: consumers of a second subscription, which receive no messages.
//   - The exclusive consumer of the real subscription is the lock. The elected process attaches it as soon as the previous
//     owner has closed its own. That one is revoked when another is elected, and closes its consumer on Release.
//
// A Failover subscription on the messages themselves would not do: the next owner receives messages while the previous one
// still handles them.
type contender struct {
	s      *Source
	topic  string // of the partition alone
	stream string
	number int32
	before *contender    // of the same partition, of a topic that is gone; nil: none
	ended  chan struct{} // closed when run has returned

	passing bool // ends with its topic; guarded by the mu of the source

	changed chan struct{}               // something below has changed; for run
	news    chan struct{}               // the same; for campaign
	rests   *backoff.ExponentialBackOff // between ownerships that end at once; of run
	atEnd   bool                        // logged that its topic may be terminated; of run
	faults  *backoff.ExponentialBackOff // between failed steps with the lock held; of run
	stood   *unreadable                 // before it the last ownership stood; of run

	mu      sync.Mutex
	active  bool        // elected, according to the last message of the broker
	told    bool        // the broker has sent a message since the candidate was last attached
	unsaid  bool        // no message came in time about the last candidate, so it is not elected: the library drops that message
	gone    bool        // the topic does not exist
	late    bool        // found after the first look-up, gone once, or owned before: Latest no longer applies
	part    *Partition  // offered or owned
	early   *unreadable // received while the consumer was being attached
	breaks  int         // disconnects of its consumer
	caution bool        // the candidate was disconnected while another process owned the partition
	away    time.Time   // since when the candidate is disconnected; zero: it is not, or there is none
	dead    bool        // the library has given the candidate up
	read    follower    // how far the owner has read
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

// isPartition reports whether the topic has the name of a partition.
func (c *contender) isPartition() bool {
	return strings.HasSuffix(c.topic, fmt.Sprintf("-partition-%d", c.number))
}

// vanished records whether the topic is gone. One that exists again is another topic, to be read from its first message.
func (c *contender) vanished(gone bool) {
	c.mu.Lock()
	c.gone, c.late = gone, c.late || gone
	c.mu.Unlock()
	c.poke()
}

// latest reports whether a new subscription starts at the end of the log. If the subscription was deleted, or the topic
// created again, that would skip unsettled messages.
func (c *contender) latest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s.cfg.Start.kind == startLatest && !c.late
}

// died records that the topic is gone, and that the library has given up the candidate: it does not return with the topic.
func (c *contender) died() {
	c.mu.Lock()
	c.gone, c.dead, c.late = true, true, true
	c.mu.Unlock()
	c.poke()
}

// look reports whether this process is elected, and whether the topic is gone.
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
	defer c.unfollow()
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

// contend owns the partition whenever this process is elected. It returns when the candidate must be withdrawn or replaced:
// ctx has ended, the topic is gone, the partition was revoked and no Accept waits, or the broker has notified no candidate.
func (c *contender) contend(ctx context.Context) {
	defer c.forgetSteps()
	for ctx.Err() == nil && !c.s.over() {
		active, gone := c.look()
		switch {
		case gone:
			return
		case active && c.standsOff(ctx):
			continue
		case !active:
			c.forgetSteps()
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
		revoked := c.own(ctx, p)
		c.rest(ctx, p, time.Since(begin))
		if !revoked && !c.s.wanted() {
			return
		}
	}
}

// Pauses between ownerships of a partition that closes its own connection. An ownership of more than quickEnd has not.
const (
	firstRest = time.Second
	mostRest  = 5 * time.Minute
	quickEnd  = 10 * time.Second
	tellsEnd  = time.Minute
)

// rest waits before the next attempt to own a partition that seems terminated and read to its end. When such a partition is
// attached, the library closes the connection, and all other partitions on it are lost. It does not say which topic has
// ended. Repeated attempts show it: an ownership of that partition always ends soon and without a message.
func (c *contender) rest(ctx context.Context, p *Partition, lasted time.Duration) {
	if _, lost := p.tenure.Lost(); !lost || !c.s.ended() || lasted >= quickEnd || p.acker.Received() {
		c.rests, c.atEnd = nil, false
		return
	}
	if c.rests == nil {
		c.rests = newBackoff(firstRest, mostRest)
		c.rests.Multiplier = 2
	}
	pause := c.rests.NextBackOff()
	if pause >= tellsEnd && !c.atEnd { // nearly all others have lasted by then
		c.atEnd = true
		c.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: topic may be terminated; attaching less often",
			slog.String("partition", p.id.String()))
	}
	sleep(ctx, pause)
}

// own waits until the partition is withdrawn before Accept returned it, or released. It reports whether the partition was
// revoked, lost or withdrawn.
func (c *contender) own(ctx context.Context, p *Partition) (revoked bool) {
	defer c.drop()
	told, again := false, false
	var retry <-chan time.Time
	for {
		if p.unread.Load() != nil {
			c.complain(ctx, p, again)
			if retry == nil {
				ticker := time.NewTicker(unreadableRetry)
				defer ticker.Stop()
				retry = ticker.C
			}
		}
		why, lost := p.tenure.Lost()
		if lost && !told {
			told = true
			p.detach()
			c.s.lost(p)
			c.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: partition lost",
				slog.String("partition", p.id.String()), slog.String("cause", why))
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
		again = false
		select {
		case <-c.changed:
		case <-retry:
			again = true
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			if c.s.withdraw(p) {
				p.shut()
			}
			return true
		}
	}
}
