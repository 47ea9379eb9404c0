package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/keyed"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/pipeline/internal/outlet"
	"github.com/keystrand/keystrand/pipeline/internal/progress"
	"github.com/keystrand/keystrand/source"
)

type queue = keyed.Queue[item]

// partition is one ownership of one partition of the source.
type partition struct {
	id      source.ID
	name    name
	source  source.Partition
	log     *slog.Logger
	tracker *commit.Tracker
	queue   *queue
	share   *budget.Share
	gate    *gate // flow waits at it
	outputs *outlet.Owner[sent]

	ctx    context.Context //nolint:containedctx // of all handlers of this epoch: a ctx a message would cost more than the whole path
	cancel context.CancelCauseFunc

	rest      rest      // of its Fetch
	fetchedAt time.Time // of the batch under way; flow's alone
	offsets   []int64   // scratch of track; flow's alone

	settled atomic.Int64 // messages that left their lanes and are settled
	dropped atomic.Int64 // messages that left their lanes and whose outputs were cut
	over    atomic.Bool  // the last commit is through: what a handler returns now counts for nothing
	paused  atomic.Bool  // by an operator
	waits   atomic.Int32 // what flow waits for: a wait

	lostC chan error // a commit was fenced; room for one

	keyErrors sync.Map // number → error of the messages whose key function failed: rare

	commits progress.Commits
}

// open begins an ownership. It fails if the earlier one of the partition has not ended.
func (p *Pipeline) open(ctx context.Context, sp source.Partition) (*partition, error) {
	id, restored := sp.ID(), sp.Restored()
	pt := &partition{
		id:      id,
		name:    name{id.Stream, id.Partition},
		source:  sp,
		log:     p.log.With(slog.String("stream", id.Stream), slog.Int("partition", int(id.Partition)), slog.Int64("epoch", id.Epoch)),
		tracker: commit.NewTracker(restored),
		share:   p.budget.Open(),
		gate:    newGate(),
		lostC:   make(chan error, 1),
	}
	pt.outputs = outlet.NewOwner[sent](pt.gate.poke)
	pt.commits.Begin(restored, pt.tracker.State())
	pt.ctx, pt.cancel = context.WithCancelCause(base(ctx))
	if err := p.openQueue(pt); err != nil {
		pt.cancel(err)
		p.budget.Close(pt.share)
		return nil, err
	}
	p.enter(pt)
	pt.log.LogAttrs(ctx, slog.LevelInfo, "partition accepted", slog.Int64("frontier", restored.Frontier), slog.Int("ahead", len(restored.Ahead)))
	return pt, nil
}

// openQueue opens the partition's lanes. The executor panics if those of the earlier ownership are not fenced: two at
// once would run a key twice at once.
func (p *Pipeline) openQueue(pt *partition) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("pipeline: the source handed out %v before its earlier ownership was released, which breaks the contract of source.Source: %v", pt.id, v)
		}
	}()
	pt.queue = p.exec.Open(keyed.ID{Name: pt.id.Stream, Number: pt.id.Partition}, pt)
	return nil
}

// track numbers the batch. Of the numbers that settled names the messages were settled by an earlier owner.
func (pt *partition) track(b *source.Batch) (first int64, settled []bool, err error) {
	pt.offsets = pt.offsets[:0]
	for i := range b.Messages {
		m := &b.Messages[i]
		m.Epoch, m.Fetched = pt.id.Epoch, pt.fetchedAt
		pt.offsets = append(pt.offsets, m.Offset)
	}
	first, settled, err = pt.tracker.Track(pt.offsets, b.Next)
	if err != nil {
		return 0, nil, fmt.Errorf("the source returned offsets that do not ascend: %w", err)
	}
	if len(b.Messages) == 0 {
		pt.gate.poke()
	}
	return first, settled, nil
}

// place adds a message to the lanes of its key, and returns the item to fill.
func (p *Pipeline) place(pt *partition, lanes *keyed.Batch[item], m *keystrand.Message, number int64) *item {
	var it *item
	if p.cfg.key == nil && m.Key != nil { // as ByKey says, without a call that may fail or panic
		lane, _, _ := keystrand.KeyOf(m.Key).Lanes()
		it = lanes.Add(lane)
		it.marks = 0
	} else {
		it = p.placeByFunc(pt, lanes, m, number)
	}
	it.number = number
	return it
}

// placeByFunc is place for what the key function says.
func (p *Pipeline) placeByFunc(pt *partition, lanes *keyed.Batch[item], m *keystrand.Message, number int64) (it *item) {
	key, err := p.keyOf(m)
	lane, more, ordered := key.Lanes()
	switch {
	case err != nil:
		pt.keyErrors.Store(number, readable(err))
		it = lanes.AddUnordered()
		it.marks = unkeyed
		return it
	case ordered:
		it = lanes.Add(lane, more...)
	case key.IsBarrier():
		it = lanes.AddBarrier()
	default:
		it = lanes.AddUnordered()
	}
	it.marks = 0
	return it
}

// keyOf calls the key function; its panic is an error like any other.
func (p *Pipeline) keyOf(m *keystrand.Message) (key keystrand.Key, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &keystrand.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	if p.cfg.key == nil {
		return keystrand.ByKey(m)
	}
	return p.cfg.key(m)
}

// lose says that a newer owner has the partition.
func (pt *partition) lose(err error) {
	select {
	case pt.lostC <- err:
	default: // it is lost already
	}
}

// written reports whether none of its outputs and dead letters is waiting, or in a Write.
func (pt *partition) written() bool { return pt.outputs.Pending() == 0 }

// allSettled tells whether nothing of what was fetched is left to do.
func (pt *partition) allSettled() bool { return pt.tracker.State().Pending == 0 }
