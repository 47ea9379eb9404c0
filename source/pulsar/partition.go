package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
)

// Partition is one ownership of one partition, as long as one connection. It implements [source.Partition].
type Partition struct {
	id       source.ID
	owner    *contender
	consumer consumer
	messages <-chan pulsar.ConsumerMessage
	restored *commit.Progress
	handed   *handed
	acker    *acker
	tenure   *tenure.Tenure
	ending   sync.Once     // of detach
	closed   chan struct{} // closed when the consumer is
	free     atomic.Bool   // Release has returned: Accept may return the partition again

	// Of the goroutine in Fetch.
	converter converter
	offsets   Offsets
	kept      keystrand.Message // did not fit into the last batch
	keeps     bool              // there is one
	position  int64             // after what Fetch has returned
	failed    error             // final
	skips     bool              // what is at or below after
	after     position
}

func newPartition(c *contender, id source.ID, cons consumer, restored *commit.Progress) *Partition {
	s := c.s
	h := newHanded(&commit.Progress{Frontier: restored.Frontier})
	after, skips := s.cfg.Start.skips(id.Stream, id.Partition)
	return &Partition{
		after: after, skips: skips,
		id: id, owner: c, consumer: cons, messages: cons.Chan(), restored: restored, handed: h,
		acker:     newAcker(h, cons.AckIDList, s.health, fmt.Sprintf("acknowledge %s/%d", id.Stream, id.Partition)),
		tenure:    tenure.New("pulsar", id, restored.Frontier),
		closed:    make(chan struct{}),
		converter: converter{stream: id.Stream, number: id.Partition},
		offsets:   s.cfg.Offsets,
		position:  restored.Frontier,
	}
}

// ID implements [source.Partition].
func (p *Partition) ID() source.ID { return p.id }

// Restored implements [source.Partition]. Without a store it is empty: the broker itself does not send what is settled.
func (p *Partition) Restored() *commit.Progress { return p.restored }

// Leaving implements [source.Partition]. Nobody forces the partition away, so a Leave has no deadline.
func (p *Partition) Leaving() <-chan source.Leave { return p.tenure.Leaving() }

// Fetch implements [source.Partition].
func (p *Partition) Fetch(ctx context.Context, b *source.Batch) error {
	begin, size := len(b.Messages), 0
	for n := 0; n < b.MaxMessages && size < b.MaxBytes; {
		b.Messages = append(b.Messages, keystrand.Message{})
		m := &b.Messages[len(b.Messages)-1]
		some, err := p.next(ctx, m, n == 0)
		if !some || err != nil {
			b.Messages = b.Messages[:len(b.Messages)-1]
			if err != nil && n == 0 {
				return err
			}
			break // an error that lasts comes again
		}
		if n > 0 && size+m.Size() > b.MaxBytes {
			p.kept, p.keeps = *m, true
			b.Messages = b.Messages[:len(b.Messages)-1]
			break
		}
		size += m.Size()
		n++
	}
	if len(b.Messages) > begin {
		p.position = b.Messages[len(b.Messages)-1].Offset + 1
	}
	b.Next = p.position
	return nil
}

// next fills m with the next message that is to be handed out. If it is not to wait, there may be none.
func (p *Partition) next(ctx context.Context, m *keystrand.Message, wait bool) (bool, error) {
	for {
		switch {
		case wait && ctx.Err() != nil:
			return false, context.Cause(ctx)
		case p.tenure.Over():
			return false, source.ErrLeaving
		case p.failed != nil:
			return false, p.failed
		case p.keeps:
			*m, p.kept, p.keeps = p.kept, keystrand.Message{}, false
			return true, nil
		}
		var (
			got  pulsar.ConsumerMessage
			open bool
		)
		if wait {
			select {
			case got, open = <-p.messages:
			case <-p.tenure.Left():
				continue
			case <-ctx.Done():
				continue
			}
		} else {
			select {
			case got, open = <-p.messages:
			default:
				return false, nil
			}
		}
		switch {
		case p.tenure.Over():
			// What comes out of the library when the connection has gone may have a gap before it.
			continue
		case !open:
			p.lose("the client library has closed its consumer")
		case p.admit(ctx, got.Message, m):
			return true, nil
		}
	}
}

// admit decides whether a message is handed out, in out. Where that ends the partition, it is over or failed.
func (p *Partition) admit(ctx context.Context, m pulsar.Message, out *keystrand.Message) bool {
	id := m.ID()
	if sealed := m.GetEncryptionContext(); sealed != nil {
		p.failed = fmt.Errorf("%w: %v, subscription %q, message id %v: it could not be decrypted with any of the keys %q "+
			"(set Config.KeyReader)", ErrEncrypted, p.id, p.owner.s.subscription, positionOf(id), slices.Sorted(maps.Keys(sealed.Keys)))
		return false
	}
	offset, ok := p.number(ctx, m)
	if !ok {
		return false
	}
	switch p.handed.take(id, offset) {
	case remade:
		p.lose(fmt.Sprintf("the topic was made again: message id %v has index %d, which is below one that came before", positionOf(id), offset))
		return false
	case strange:
		// The library never sends twice, and the broker not over one connection. Somebody has moved the subscription, or an
		// acknowledgement of an earlier owner was forgotten. Nothing is acknowledged any more, and what is not comes
		// again in order.
		p.lose(fmt.Sprintf("message id %v came behind later ones", positionOf(id)))
		return false
	case fresh:
	}
	if offset < p.restored.Frontier {
		poke(p.acker.wake) // settled, as the store says, but not acknowledged
		return false
	}
	if p.skips && positionOf(id).compare(p.after) <= 0 {
		return false // acknowledged when the frontier is above it
	}
	*out = p.converter.message(m, offset)
	return true
}

// number returns the offset of a message. If there is none, the partition is failed or leaving.
func (p *Partition) number(ctx context.Context, m pulsar.Message) (int64, bool) {
	index := m.Index()
	if p.offsets == OffsetsAuto {
		p.offsets = OffsetsPacked
		if index != nil {
			p.offsets = OffsetsIndex
		}
	}
	switch {
	case p.offsets == OffsetsPacked:
		offset, err := pack(positionOf(m.ID()))
		if err != nil {
			p.failed = fmt.Errorf("pulsar: %v, subscription %q: %w", p.id, p.owner.s.subscription, err)
		}
		return offset, err == nil
	case index != nil:
		return int64(*index), true //nolint:gosec // counts messages
	case p.owner.s.cfg.Offsets == OffsetsIndex:
		p.failed = fmt.Errorf("pulsar: %v, subscription %q: the broker gives no index to message id %v: brokerEntryMetadataInterceptors "+
			"or exposingBrokerEntryMetadataToClientEnabled is off, or was when it was written (use OffsetsAuto or OffsetsPacked)",
			p.id, p.owner.s.subscription, positionOf(m.ID()))
	default:
		// The two are never mixed in one ownership. The next one begins with this message, and packed.
		p.owner.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the broker does not number messages any more, the partition begins anew",
			slog.String("partition", p.id.String()), slog.String("message_id", positionOf(m.ID()).String()))
		p.revoke()
	}
	return 0, false
}

// Commit implements [source.Partition]. Without a store it is tried until the broker has confirmed every acknowledgement,
// the partition is lost, or ctx ends; what is then not confirmed is sent again. What the broker cannot keep of p (batches
// that are settled in part) is in Stored.
func (p *Partition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if err := p.tenure.Commit(progress.Frontier); err != nil {
		return commit.Stored{}, err
	}
	if p.owner.s.cfg.Store != nil {
		return p.save(ctx, progress)
	}
	stored, err := p.acker.commit(ctx, progress)
	switch {
	case errors.Is(err, errStopped), errors.Is(err, errLost):
		return stored, fmt.Errorf("pulsar: commit of %v: %w: %w", p.id, err, commit.ErrFenced)
	case err != nil:
		return stored, fmt.Errorf("pulsar: commit of %v at offset %d, subscription %q: %w", p.id, progress.Frontier, p.owner.s.subscription, err)
	}
	return stored, nil
}

// save stores progress, and has acknowledged what is below its frontier.
func (p *Partition) save(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	own := *progress
	own.Log, own.Epoch = p.restored.Log, p.id.Epoch
	err := p.owner.s.cfg.Store.Save(ctx, p.id.Stream, p.id.Partition, &own)
	if errors.Is(err, commit.ErrFenced) {
		p.lose("the store has a newer owner")
	}
	if err != nil {
		return commit.Stored{}, fmt.Errorf("pulsar: save progress of %v at offset %d: %w", p.id, progress.Frontier, err)
	}
	p.acker.settle(&commit.Progress{Frontier: own.Frontier})
	return commit.Stored{Frontier: own.Frontier}, nil
}

// ackGrace is how long the consumer is not closed for a request under way, lost or not. To close it ends one that hangs, but
// not one that is just on its way into the library (v0.19.0): that one would never be answered.
const ackGrace = time.Second

// Release implements [source.Partition]. It closes the consumer, which is the lock: the next owner can have the partition
// from then on. When that takes longer than ReleaseTimeout it goes on behind, which is told in the log: nobody else gets the
// partition meanwhile. A lost partition is not waited for.
func (p *Partition) Release(ctx context.Context) error {
	_, lost := p.tenure.Lost()
	if err := p.tenure.Release(); err != nil {
		return err
	}
	s := p.owner.s
	p.detach()
	s.forget(p)
	defer p.returned()
	if lost {
		return nil
	}
	slow := time.NewTimer(s.cfg.ReleaseTimeout)
	defer slow.Stop()
	select {
	case <-p.closed:
	case <-slow.C:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the broker has not let go of a partition yet, nobody else gets it before it has",
			slog.String("partition", p.id.String()), slog.Duration("after", s.cfg.ReleaseTimeout))
	case <-ctx.Done():
		return fmt.Errorf("pulsar: release of %v: the broker has not let go of the subscription %q yet, nobody else gets the partition before it has: %w",
			p.id, s.subscription, context.Cause(ctx))
	}
	return nil
}

// returned lets the contender own the partition anew.
func (p *Partition) returned() {
	p.free.Store(true)
	p.owner.poke()
}

// detach ends the acknowledgements and closes the consumer, on a goroutine of its own. A second call does nothing.
func (p *Partition) detach() {
	p.ending.Do(func() {
		p.acker.close()
		p.owner.s.apart(func() {
			defer close(p.closed)
			grace := time.NewTimer(ackGrace)
			defer grace.Stop()
			select {
			case <-p.acker.done:
			case <-grace.C:
			}
			p.consumer.Close()
		})
	})
}

// shut closes a partition that nobody has accepted, or that nobody has released when the source is closed.
func (p *Partition) shut() {
	if p.tenure.Release() == nil {
		p.detach()
	}
}

// revoke tells the pipeline to release the partition.
func (p *Partition) revoke() { p.tenure.Revoke(source.Leave{}) }

// lose tells the pipeline that the partition is lost. From now on nothing is returned or acknowledged. It does not block; the
// contender closes the consumer.
func (p *Partition) lose(why string) {
	if p.tenure.Lose(why) {
		p.acker.abandon()
		p.owner.poke()
	}
}
