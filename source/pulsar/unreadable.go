package pulsar

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

// unreadable is a message that cannot be decrypted, decompressed or parsed. Its partition stands before it: no later message
// is returned, and all earlier ones are handled and acknowledged.
type unreadable struct {
	at  ack.Position
	err error
	due bool // the cause is known in full
}

const (
	// unreadableRetry is how often a partition tries again to decrypt a message.
	unreadableRetry = time.Minute
	// causeFollows is how long the cause in full may be behind the fact.
	causeFollows = 50 * time.Millisecond
	// skippedAfter is how long a new ownership waits for the message before which the last one stood. A broker delivers at once
	// what it has, so the message was skipped.
	skippedAfter = 5 * time.Second
)

// unreadable handles a message that the library cannot read.
func (s *Source) unreadable(topic, subscription string, ledger, entry int64, err error, full bool) {
	c := s.contender(topic)
	if c == nil || subscription != s.subscription {
		return
	}
	c.mu.Lock()
	p := c.part
	at := ack.Position{Ledger: ledger, Entry: entry}
	u := &unreadable{at: at, due: full, err: fmt.Errorf("%w: %w: message id %v of %s, subscription %q", ErrUnreadable, err, at, c.name(), subscription)}
	if p == nil { // it is being attached
		c.early = earliest(c.early, u)
	}
	c.mu.Unlock()
	if p != nil {
		p.stand(u)
	}
}

// earliest returns the message with the lower position, and b if the positions are equal.
func earliest(a, b *unreadable) *unreadable {
	if a != nil && (b == nil || a.at.Compare(b.at) < 0) {
		return a
	}
	return b
}

// stand records a message that cannot be read. It does not block.
func (p *Partition) stand(u *unreadable) {
	for {
		old := p.unread.Load()
		if old != nil && earliest(old, u) == old || p.unread.CompareAndSwap(old, u) {
			break
		}
	}
	p.owner.poke()
}

// stands reports whether the partition returns neither this message nor a later one.
func (p *Partition) stands(m pulsar.Message) bool {
	at := ack.PositionOf(m.ID())
	if sealed := m.GetEncryptionContext(); sealed != nil {
		at.Batch = 0
		p.stand(&unreadable{at: at, due: true, err: fmt.Errorf("%w: no key decrypts message id %v of %s/%d, subscription %q: it was sealed with %q "+
			"(set Config.KeyReader)", ErrEncrypted, at, p.id.Stream, p.id.Partition, p.owner.s.subscription, slices.Sorted(maps.Keys(sealed.Keys)))})
	}
	u := p.unread.Load()
	return u != nil && at.Compare(u.at) >= 0
}

// healed records that a message was read. Another ownership may have stood before it.
func (p *Partition) healed(ctx context.Context, at ack.Position) {
	if p.stood != nil && at.Compare(p.stood.at) >= 0 {
		p.heal(ctx)
	}
}

// skipped records that the broker has had no message for skippedAfter.
func (p *Partition) skipped(ctx context.Context) {
	if p.stood != nil && p.unread.Load() == nil {
		p.heal(ctx)
	}
}

func (p *Partition) heal(ctx context.Context) {
	p.stood = nil
	p.owner.s.health.Works(ctx, reading+" "+p.owner.name())
}

// allStored reports whether the partition stands and everything that it has returned is committed.
func (p *Partition) allStored() bool {
	end := p.stopped.Load()
	return end >= 0 && p.stored.Load() >= end
}

// complain records in the health of the source that a partition stands. again says that it has stood for some time: it is
// opened again if that can help, after all earlier messages are settled.
func (c *contender) complain(ctx context.Context, p *Partition, again bool) {
	u := p.unread.Load()
	if !u.due {
		sleep(ctx, causeFollows)
		u = p.unread.Load()
	}
	c.stood = u
	c.s.health.Fails(ctx, reading+" "+c.name(), u.err)
	if again && errors.Is(u.err, ErrEncrypted) && c.s.cfg.KeyReader != nil && p.allStored() {
		p.revoke()
	}
}
