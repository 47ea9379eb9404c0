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
	source  source.Partition
	report  *reporter
	tracker *commit.Tracker
	queue   *queue
	share   *budget.Share
	gate    *gate // flow waits here for conditions
	outputs *outlet.Owner[sent]

	ctx    context.Context //nolint:containedctx // shared by all handlers of this epoch: a ctx for each message would cost more than all other work on it
	cancel context.CancelCauseFunc

	post    post     // its owner
	watcher *watcher // set by watchers, as is the next
	leaving <-chan source.Leave
	rest    rest    // ctx of flow
	offsets []int64 // scratch of track; used by flow alone
	fetches fetches

	acceptedAt time.Time

	settled atomic.Int64 // messages that left their lanes and are settled
	stored  atomic.Int64 // of these: in the last commit that was stored
	dropped atomic.Int64 // messages that left their lanes and whose outputs were cut
	told    bool         // its release is told: no event follows; guarded by reporter.mu
	stuck   atomic.Int64 // handlers that had not returned when they were last looked for, after their ctx had ended
	over    atomic.Bool  // the last commit has ended: ignore later results of handlers
	lost    atomic.Bool  // EventLost is told
	paused  atomic.Bool  // an operator has paused the partition
	waits   atomic.Int32 // a Wait: why flow waits

	keyErrors sync.Map // number → error of messages whose key function failed
	errors    sync.Map // number → errorTexts of messages that are handled again

	commits progress.Commits

	divert   *divert      // nil without a store
	diverted atomic.Int64 // messages that went to the log of their key without a lane
}

// end returns the end of the log, and reports whether the source knows it.
func (pt *partition) end() (int64, bool) {
	if l, ok := pt.source.(source.Lagger); ok {
		return l.End()
	}
	return 0, false
}

// name returns the name of the partition without its epoch.
func (pt *partition) name() name { return name{pt.id.Stream, pt.id.Partition} }

// open begins an ownership. It fails if the partition's earlier ownership has not ended.
func (p *Pipeline) open(ctx context.Context, sp source.Partition) (*partition, error) {
	id, restored := p.identify(sp)
	pt := &partition{
		id:      id,
		source:  sp,
		report:  p.report,
		tracker: commit.NewTracker(restored),
		share:   p.budget.Open(),
		gate:    newGate(),

		acceptedAt: time.Now(),
	}
	pt.outputs = outlet.NewOwner[sent](pt.gate.poke)
	pt.commits.Begin(claimed(sp), pt.tracker.State())
	pt.ctx, pt.cancel = context.WithCancelCause(keystrand.WithLog(base(ctx), restored.Log))
	pt.divert = newDivert(p, pt)
	if err := p.openQueue(pt); err != nil {
		pt.cancel(err)
		p.budget.Close(pt.share)
		return nil, err
	}
	p.enter(pt)
	p.ending.begins()
	p.report.tell(pt, Event{Kind: EventAccepted, Messages: pt.tracker.Restored()}, slog.Int64("frontier", restored.Frontier), slog.Int("ahead", len(restored.Ahead)))
	return pt, nil
}

// claimed returns what is stored of the restored progress.
func claimed(sp source.Partition) commit.Stored {
	if c, ok := sp.(source.Claimer); ok {
		return c.Claimed()
	}
	return commit.Stored{Frontier: sp.Restored().Frontier}
}

// identify calls ID and Restored of a partition.
func (p *Pipeline) identify(sp source.Partition) (source.ID, *commit.Progress) {
	defer p.calls.begin("ID or Restored of a partition")()
	return sp.ID(), sp.Restored()
}

// openQueue opens the partition's lanes. The executor panics if the earlier ownership is not fenced, since a key could
// then run twice at once.
func (p *Pipeline) openQueue(pt *partition) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("pipeline: accept %v: its earlier ownership is not released; the source breaks the contract of source.Source: %v", pt.id, v)
		}
	}()
	pt.queue = p.exec.Open(keyed.ID{Name: pt.id.Stream, Number: pt.id.Partition}, pt)
	return nil
}

// track numbers the messages of the batch. settled marks those that an earlier owner settled.
func (pt *partition) track(b *source.Batch) (first int64, settled []bool, err error) {
	pt.offsets = pt.offsets[:0]
	now := time.Now()
	for i := range b.Messages {
		m := &b.Messages[i]
		m.Epoch, m.Fetched = pt.id.Epoch, now
		pt.offsets = append(pt.offsets, m.Offset)
	}
	first, settled, err = pt.tracker.Track(pt.offsets, b.Next)
	if err != nil {
		return 0, nil, fmt.Errorf("the source returned offsets out of order: %w", err)
	}
	if len(b.Messages) == 0 {
		pt.gate.poke()
	} else {
		pt.fetches.add(first, now, pt.oldest)
	}
	return first, settled, nil
}

// place adds a message to the lanes of its key, and returns the item to fill.
func (p *Pipeline) place(pt *partition, lanes *keyed.Batch[item], m *keystrand.Message, number int64) *item {
	if p.cfg.key == nil && m.Key != nil { // same as ByKey, without a call that may fail or panic
		lane, _, _ := keystrand.KeyOf(m.Key).Lanes()
		it := lanes.Add(lane)
		it.number, it.marks = number, 0
		return it
	}
	key, err := p.keyOf(m)
	return p.lay(pt, lanes, key, err, number)
}

// lay adds a message to the lanes of its key, or to a lane of its own if the key function failed.
func (p *Pipeline) lay(pt *partition, lanes *keyed.Batch[item], key keystrand.Key, err error, number int64) (it *item) {
	lane, more, ordered := key.Lanes()
	switch {
	case err != nil:
		pt.keyErrors.Store(number, readable(err))
		it = lanes.AddUnordered()
	case ordered:
		it = lanes.Add(lane, more...)
	case key.IsBarrier():
		it = lanes.AddBarrier()
	default:
		it = lanes.AddUnordered()
	}
	it.number, it.marks = number, 0
	if err != nil {
		it.marks = unkeyed
	}
	return it
}

// keyOf calls the key function and returns a panic as an error.
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

// log returns a logger that names the partition. It is made for each line, since a logger takes more memory than the rest
// of an idle partition.
func (pt *partition) log() *slog.Logger {
	return pt.report.p.log.With(slog.String("stream", pt.id.Stream), slog.Int("partition", int(pt.id.Partition)), slog.Int64("epoch", pt.id.Epoch))
}

// trim frees the memory of the last batch.
func (pt *partition) trim() {
	pt.offsets = nil
	pt.queue.Trim()
	if pt.divert != nil {
		pt.divert.placed = nil
	}
	pt.tracker.Trim()
	pt.fetches.trim(pt.oldest())
}

// oldest returns the number of the oldest unsettled message, -1 if there is none.
func (pt *partition) oldest() int64 { return pt.tracker.State().Oldest }

// redelivered returns how many of the fetched messages the next owner gets again: unsettled ones, and settled ones that
// no stored commit covers.
func (pt *partition) redelivered() int64 {
	st := pt.tracker.State()
	return st.Pending + max(0, pt.settled.Load()-pt.stored.Load()) + pt.commits.Last().Stored.Replays
}

// written reports whether none of the partition's outputs and dead letters is waiting or being written.
func (pt *partition) written() bool { return pt.outputs.Pending() == 0 }

// quiet reports whether no output, and no call of the store of diverted keys, is under way.
func (pt *partition) quiet() bool { return pt.written() && (pt.divert == nil || pt.divert.quiet()) }

// allSettled reports whether all fetched messages are settled.
func (pt *partition) allSettled() bool { return pt.tracker.State().Pending == 0 }
