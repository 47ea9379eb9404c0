package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// Partition is one ownership of one partition. It lasts at most as long as one connection. It implements [source.Partition].
type Partition struct {
	id       source.ID
	owner    *contender
	consumer client.Consumer
	messages <-chan pulsar.ConsumerMessage // of the goroutine in Fetch; nil: the partition stands
	restored *commit.Progress
	acker    *ack.Acker
	tenure   *tenure.Tenure
	ending   sync.Once     // of detach
	closed   chan struct{} // closed when the consumer is
	free     atomic.Bool   // Release has returned: Accept may return the partition again
	unread   atomic.Pointer[unreadable]
	stopped  atomic.Int64 // the offset at which Fetch waits because the partition stands; -1: it does not
	stored   atomic.Int64 // the frontier of the last commit

	// Of the goroutine in Fetch.
	converter converter
	offsets   Offsets
	kept      keystrand.Message // did not fit into the last batch
	keeps     bool              // there is one
	position  int64             // after the last message returned
	stood     *unreadable       // of an earlier ownership
	failed    error             // final
	skips     bool              // messages at or below after
	after     ack.Position
}

func newPartition(c *contender, id source.ID, cons client.Consumer, restored *commit.Progress) *Partition {
	s := c.s
	after, skips := s.cfg.Start.skips(id.Stream, id.Partition)
	p := &Partition{
		after: after, skips: skips, stood: c.stood,
		id: id, owner: c, consumer: cons, messages: cons.Chan(), restored: restored,
		acker:     ack.New(restored.Frontier, cons.AckIDList, s.health, fmt.Sprintf("acknowledge %s/%d", id.Stream, id.Partition)),
		tenure:    tenure.New("pulsar", id, restored.Frontier),
		closed:    make(chan struct{}),
		converter: converter{stream: id.Stream, number: id.Partition},
		offsets:   s.cfg.Offsets,
		position:  restored.Frontier,
	}
	p.stopped.Store(-1)
	p.stored.Store(restored.Frontier)
	return p
}

// ID implements [source.Partition].
func (p *Partition) ID() source.ID { return p.id }

// Restored implements [source.Partition]. Without a store it is empty: the broker does not deliver acknowledged messages.
func (p *Partition) Restored() *commit.Progress { return p.restored }

// Leaving implements [source.Partition]. A revoked partition has no deadline: nothing takes it away by force.
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
			break // the next call returns the error again
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

// next fills m with the next message to return. If it may not wait, it can report false.
func (p *Partition) next(ctx context.Context, m *keystrand.Message, wait bool) (bool, error) {
	var quiet <-chan time.Time
	if wait && p.stood != nil {
		timer := time.NewTimer(skippedAfter)
		defer timer.Stop()
		quiet = timer.C
	}
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
			if p.messages == nil {
				p.stopped.Store(p.position)
			}
			select {
			case got, open = <-p.messages:
			case <-quiet:
				p.skipped(ctx)
				continue
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
			// After a disconnect the library may deliver messages behind a gap.
			continue
		case !open:
			p.lose("the client library has closed its consumer")
		case p.admit(ctx, got.Message, m):
			return true, nil
		}
	}
}

// admit reports whether a message is returned, in out. If not, the partition may be over or failed now.
func (p *Partition) admit(ctx context.Context, m pulsar.Message, out *keystrand.Message) bool {
	id := m.ID()
	if p.stands(m) {
		p.messages = nil
		return false
	}
	offset, ok := p.number(ctx, m)
	if !ok {
		return false
	}
	switch p.acker.Take(id, offset) {
	case ack.Remade:
		p.lose(fmt.Sprintf("the topic was deleted and created again: message id %v has index %d, lower than an earlier one", ack.PositionOf(id), offset))
		return false
	case ack.Stale:
		// Neither the library nor a connection delivers a message twice. The subscription was moved, or the broker forgot
		// acknowledgements of an earlier owner. The next ownership receives all unacknowledged messages in order.
		p.lose(fmt.Sprintf("message id %v was delivered after later ones", ack.PositionOf(id)))
		return false
	case ack.Fresh:
	}
	if offset < p.restored.Frontier {
		p.acker.Wake() // settled according to the store, but not acknowledged
		return false
	}
	if p.skips && ack.PositionOf(id).Compare(p.after) <= 0 {
		return false // acknowledged once the frontier is above it
	}
	*out = p.converter.message(m, offset)
	p.healed(ctx, ack.PositionOf(id))
	if !p.converter.noted {
		p.owner.s.hidden(ctx, p.id, m)
	}
	return true
}

// number returns the offset of a message. If it reports false, the partition is failed or revoked.
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
		offset, err := pack(ack.PositionOf(m.ID()))
		if err != nil {
			p.failed = fmt.Errorf("pulsar: %v, subscription %q: %w", p.id, p.owner.s.subscription, err)
		}
		return offset, err == nil
	case index != nil:
		return int64(*index), true //nolint:gosec // counts messages
	case p.owner.s.cfg.Offsets == OffsetsIndex:
		p.failed = fmt.Errorf("pulsar: %v, subscription %q: message id %v has no index: brokerEntryMetadataInterceptors "+
			"or exposingBrokerEntryMetadataToClientEnabled is off, or was when it was written (use OffsetsAuto or OffsetsPacked)",
			p.id, p.owner.s.subscription, ack.PositionOf(m.ID()))
	default:
		// One ownership never mixes the two kinds. The next one begins with this message, and packs.
		p.owner.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: broker stopped numbering messages; reopening the partition with packed offsets",
			slog.String("partition", p.id.String()), slog.String("message_id", ack.PositionOf(m.ID()).String()))
		p.revoke()
	}
	return 0, false
}

// Commit implements [source.Partition]. Without a store it returns when the broker has confirmed every acknowledgement, the
// partition is lost, or ctx has ended. Acknowledgements are retried after that too. Stored counts the messages that the
// broker cannot record as settled, in batches that are settled in part.
func (p *Partition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if err := p.tenure.Commit(progress.Frontier); err != nil {
		return commit.Stored{}, err
	}
	if p.owner.s.cfg.Store != nil {
		return p.save(ctx, progress)
	}
	stored, err := p.acker.Commit(ctx, progress)
	switch {
	case err == nil:
		p.stored.Store(progress.Frontier)
		p.follow()
	case errors.Is(err, ack.ErrReleased), errors.Is(err, ack.ErrLost):
		return stored, fmt.Errorf("pulsar: commit of %v: %w: %w", p.id, err, commit.ErrFenced)
	default:
		return stored, fmt.Errorf("pulsar: commit of %v at offset %d, subscription %q: %w", p.id, progress.Frontier, p.owner.s.subscription, err)
	}
	return stored, nil
}

// save stores progress. Messages below its frontier are acknowledged in the background.
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
	p.stored.Store(own.Frontier)
	p.follow()
	p.acker.Settle(&commit.Progress{Frontier: own.Frontier})
	return commit.Stored{Frontier: own.Frontier}, nil
}

// ackGrace is how long the close of the consumer waits for a request under way. Close ends a request that hangs, but not one
// that is just entering the library (v0.19.0): that one would never be answered.
const ackGrace = time.Second

// Release implements [source.Partition]. It closes the consumer, which is the lock, so that the next owner can take the
// partition. After ReleaseTimeout, or a second after Stop, it logs a line and returns; the close goes on and the partition
// stays locked. For a lost partition Release does not wait.
func (p *Partition) Release(ctx context.Context) error {
	_, lost := p.tenure.Lost()
	if err := p.tenure.Release(); err != nil {
		return err
	}
	s := p.owner.s
	p.detach()
	s.forget(p)
	defer func() {
		p.free.Store(true) // the contender may own the partition again
		p.owner.poke()
	}()
	if lost {
		return nil
	}
	patience := s.cfg.ReleaseTimeout
	if s.over() {
		patience = min(patience, closeGrace)
	}
	slow := time.NewTimer(patience)
	defer slow.Stop()
	select {
	case <-p.closed:
	case <-slow.C:
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: consumer close still pending; partition stays locked",
			slog.String("partition", p.id.String()), slog.Duration("after", patience))
	case <-ctx.Done():
		return fmt.Errorf("pulsar: release of %v: consumer close still pending on subscription %q; the partition stays locked: %w",
			p.id, s.subscription, context.Cause(ctx))
	}
	return nil
}

// detach ends the acknowledgements and closes the consumer in the background. A second call does nothing.
func (p *Partition) detach() {
	p.ending.Do(func() {
		p.acker.Close()
		p.owner.s.calls.Go(func() {
			defer close(p.closed)
			within(p.acker.Done(), ackGrace)
			p.consumer.Close()
		})
	})
}

// shut closes a partition that was not accepted, or is not released when the source is closed.
func (p *Partition) shut() {
	if p.tenure.Release() == nil {
		p.detach()
	}
}

// revoke tells the pipeline to release the partition.
func (p *Partition) revoke() { p.tenure.Revoke(source.Leave{}) }

// lose tells the pipeline that the partition is lost. From now on nothing is returned or acknowledged. It does not block.
// The contender closes the consumer.
func (p *Partition) lose(why string) {
	if p.tenure.Lose(why) {
		p.acker.Abandon()
		p.owner.poke()
	}
}
