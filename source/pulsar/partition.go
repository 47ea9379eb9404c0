package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Partition is one ownership of one partition. It implements [source.Partition].
type Partition struct {
	id       source.ID
	owner    *contender
	consumer consumer
	messages <-chan pulsar.ConsumerMessage
	restored *commit.Progress
	handed   *handed
	acker    *acker
	leaving  chan source.Leave
	left     chan struct{} // closed when the first value is in leaving

	// Of the goroutine in Fetch.
	converter converter
	offsets   Offsets
	kept      *keystrand.Message // did not fit into the last batch
	position  int64              // after what Fetch has returned
	came      int64              // after what has come
	failed    error              // final

	mu       sync.Mutex
	asked    bool
	lost     bool
	released bool
	frontier int64 // last committed
}

func newPartition(c *contender, id source.ID, cons consumer, restored *commit.Progress) *Partition {
	s := c.s
	h := newHanded(s.cfg.BatchIndexAcks, &commit.Progress{Frontier: restored.Frontier})
	return &Partition{
		id: id, owner: c, consumer: cons, messages: cons.Chan(), restored: restored, handed: h,
		acker:     newAcker(h, cons.AckIDList, s.health, fmt.Sprintf("acknowledge %s/%d", id.Stream, id.Partition)),
		leaving:   make(chan source.Leave, 2),
		left:      make(chan struct{}),
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
func (p *Partition) Leaving() <-chan source.Leave { return p.leaving }

// Fetch implements [source.Partition].
func (p *Partition) Fetch(ctx context.Context, b *source.Batch) error {
	begin, size := len(b.Messages), 0
	for n := 0; n < b.MaxMessages && size < b.MaxBytes; {
		m, err := p.next(ctx, n == 0)
		if err != nil && n == 0 {
			return err
		}
		if err != nil || m == nil {
			break // an error that lasts comes again
		}
		if n > 0 && size+m.Size() > b.MaxBytes {
			p.kept = m
			break
		}
		b.Messages = append(b.Messages, *m)
		size += m.Size()
		n++
	}
	if len(b.Messages) > begin {
		p.position = b.Messages[len(b.Messages)-1].Offset + 1
	}
	b.Next = p.position
	return nil
}

// next returns the next message that is to be handed out. If it is not to wait, it may return none.
func (p *Partition) next(ctx context.Context, wait bool) (*keystrand.Message, error) {
	for {
		if wait && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		select {
		case <-p.left:
			return nil, source.ErrLeaving
		default:
		}
		if p.failed != nil {
			return nil, p.failed
		}
		if m := p.kept; m != nil {
			p.kept = nil
			return m, nil
		}
		var (
			got  pulsar.ConsumerMessage
			open bool
		)
		if wait {
			select {
			case got, open = <-p.messages:
			case <-p.left:
				continue
			case <-ctx.Done():
				continue
			}
		} else {
			select {
			case got, open = <-p.messages:
			default:
				return nil, nil //nolint:nilnil // nothing yet
			}
		}
		if !open {
			p.lose(ctx, "the client library has closed its consumer")
			continue
		}
		if m := p.admit(ctx, got.Message); m != nil {
			return m, nil
		}
	}
}

// admit decides whether a message is handed out. Where that ends the partition, left is closed or failed is set.
func (p *Partition) admit(ctx context.Context, m pulsar.Message) *keystrand.Message {
	id := m.ID()
	if sealed := m.GetEncryptionContext(); sealed != nil {
		p.failed = fmt.Errorf("%w: %v, subscription %q, message id %v: it could not be decrypted with any of the keys %q "+
			"(set Config.KeyReader)", ErrEncrypted, p.id, p.owner.s.subscription, positionOf(id), slices.Sorted(maps.Keys(sealed.Keys)))
		return nil
	}
	offset, ok := p.number(ctx, m)
	if !ok {
		return nil
	}
	if last, some := p.handed.last(); some && positionOf(id).compare(last) > 0 && offset < p.came {
		p.lose(ctx, fmt.Sprintf("the topic was made again: message id %v has index %d after index %d", positionOf(id), offset, p.came-1))
		return nil
	}
	verdict, again := p.handed.take(id, offset)
	if again {
		poke(p.acker.wake)
	}
	switch verdict {
	case known:
		return nil
	case strange:
		// An acknowledgement of an earlier owner was forgotten, or the subscription was deleted or moved, or messages have
		// overtaken each other in a reconnect. Nobody can tell, so nothing is acknowledged, and everything that is not comes
		// again in order.
		p.lose(ctx, fmt.Sprintf("message id %v came, which this owner has never had, below others that it has", positionOf(id)))
		return nil
	case fresh:
	}
	p.came = offset + 1
	if offset < p.restored.Frontier {
		poke(p.acker.wake) // settled, as the store says, but not acknowledged
		return nil
	}
	out := p.converter.message(m, offset)
	return &out
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
		p.ask()
	}
	return 0, false
}

// Commit implements [source.Partition]. Without a store it is tried until the broker has confirmed every acknowledgement,
// or ctx ends; what is then not confirmed is sent again. What the broker cannot keep of p (batches that are settled in
// part) is in Stored.
func (p *Partition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if err := p.mayCommit(progress); err != nil {
		return commit.Stored{}, err
	}
	if p.owner.s.cfg.Store != nil {
		return p.save(ctx, progress)
	}
	stored, err := p.acker.commit(ctx, progress)
	switch {
	case errors.Is(err, errStopped):
		return stored, fmt.Errorf("pulsar: commit of %v at its release: %w", p.id, commit.ErrFenced)
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
		p.lose(ctx, "the store has a newer owner")
	}
	if err != nil {
		return commit.Stored{}, fmt.Errorf("pulsar: save progress of %v at offset %d: %w", p.id, progress.Frontier, err)
	}
	p.acker.settle(&commit.Progress{Frontier: own.Frontier})
	return commit.Stored{Frontier: own.Frontier}, nil
}

func (p *Partition) mayCommit(progress *commit.Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.released:
		return fmt.Errorf("pulsar: commit of %v after its release: %w", p.id, commit.ErrFenced)
	case p.lost:
		return fmt.Errorf("pulsar: commit of %v, which is lost: %w", p.id, commit.ErrFenced)
	case progress.Frontier < p.frontier:
		return fmt.Errorf("pulsar: commit of %v: offset %d is below %d, which was committed before", p.id, progress.Frontier, p.frontier)
	}
	p.frontier = progress.Frontier
	return nil
}

// ackGrace is how long Release waits for a request under way before it closes the consumer, which ends one that hangs.
const ackGrace = time.Second

// Release implements [source.Partition]. It closes the consumer, which is the lock: the next owner can have the partition
// from then on. When it takes longer than ctx or ReleaseTimeout allow, it goes on behind, and others wait for it.
func (p *Partition) Release(ctx context.Context) error {
	p.mu.Lock()
	already := p.released
	p.released = true
	p.mu.Unlock()
	if already {
		return fmt.Errorf("pulsar: %v was released twice", p.id)
	}
	s := p.owner.s
	closed := p.detach()
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.ReleaseTimeout, errSlow)
	defer cancel()
	defer p.owner.poke()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pulsar: release of %v: the broker has not let go of the subscription %q yet, nobody else gets the partition before it has: %w",
			p.id, s.subscription, context.Cause(ctx))
	}
}

var errSlow = errors.New("ReleaseTimeout has passed")

// detach ends the acknowledgements and closes the consumer, on a goroutine of its own.
func (p *Partition) detach() <-chan struct{} {
	closed := make(chan struct{})
	p.acker.close()
	p.owner.s.running.Go(func() {
		defer close(closed)
		grace := time.NewTimer(ackGrace)
		defer grace.Stop()
		select {
		case <-p.acker.done:
		case <-grace.C:
		}
		p.consumer.Close()
		<-p.acker.done
	})
	return closed
}

// ask tells the pipeline that the partition is asked back.
func (p *Partition) ask() { p.leave(source.Leave{}) }

// lose tells the pipeline that the partition is lost.
func (p *Partition) lose(ctx context.Context, why string) {
	if p.leave(source.Leave{Lost: true}) {
		p.owner.s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the partition is lost",
			slog.String("partition", p.id.String()), slog.String("why", why))
	}
}

func (p *Partition) leave(l source.Leave) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost || p.released || p.asked && !l.Lost {
		return false
	}
	if !p.asked {
		close(p.left)
	}
	p.asked, p.lost = true, l.Lost
	p.leaving <- l // there is room: each of the two values is sent once
	return true
}

func (p *Partition) told() (leaving, lost, released bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.lost, p.released
}
