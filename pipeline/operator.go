package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/middleware/spill"
)

// Errors of the methods for held keys.
var (
	// ErrNotOwned reports that this process does not own the partition now.
	ErrNotOwned = errors.New("the partition is not owned by this process")
	// ErrNotHeld reports that the key is not held.
	ErrNotHeld = errors.New("the key is not held")
	// ErrNotStored reports that the key waits for a restart, with a message that the store can never keep.
	ErrNotStored = errors.New("the store can never keep a message of the key, which waits")
)

var errNoStore = fmt.Errorf("%w, and there is no store of diverted keys: set one with Builder.Divert", ErrNotOwned)

// Held lists at most n held keys of a partition, ordered by the names of their lanes, behind the lane with the text after;
// empty: from the first one. It does not block. It fails with [ErrNotOwned] if this process does not own the partition.
func (p *Pipeline) Held(ctx context.Context, stream string, partition int32, after string, n int) ([]StrandSnapshot, error) {
	d, err := p.divertOf(stream, partition)
	if err != nil {
		return nil, fmt.Errorf("pipeline: held keys of %s/%d: %w", stream, partition, err)
	}
	from := keystrand.Lane("")
	if after != "" {
		if from, err = keystrand.ParseLane(after); err != nil {
			return nil, fmt.Errorf("pipeline: held keys of %s/%d: %w", stream, partition, err)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var lanes []string
	d.mu.Lock()
	for _, st := range d.strands {
		if st.held && (after == "" || st.lane > string(from)) {
			lanes = append(lanes, st.lane)
		}
	}
	d.mu.Unlock()
	slices.Sort(lanes) // without the lock: there may be many
	now := time.Now()
	var list []StrandSnapshot
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 0; i < len(lanes) && len(list) < n; i++ {
		if st := d.strands[lanes[i]]; st != nil && st.held {
			list = append(list, st.snapshot(now))
		}
	}
	return list, nil
}

// Records returns the first n messages of a held key that are in the store, and why the key is held. lane is the text of the
// key's lane, as Held returns it. It blocks for one call of the store, and returns soon after ctx ends. It fails with
// [ErrNotOwned] or [ErrNotHeld].
func (p *Pipeline) Records(ctx context.Context, stream string, partition int32, lane string, n int) (ms []keystrand.Message, why string, err error) {
	h, err := p.held(stream, partition, lane)
	if err != nil {
		return nil, "", fmt.Errorf("pipeline: records of %s/%d key %s: %w", stream, partition, lane, err)
	}
	h.d.mu.Lock()
	why, after := h.st.why, h.st.done
	h.d.mu.Unlock()
	if n <= 0 {
		return nil, why, nil
	}
	if ms, err = h.read(ctx, after, n); err != nil {
		return nil, "", fmt.Errorf("pipeline: records of %s/%d key %s: %w", stream, partition, lane, err)
	}
	return ms, why, nil
}

// ResumeHeld lets a held key go on with its first message, which is handled again, with attempts from 1. It returns how many
// messages of the key are in the store.
//
// ResumeHeld, SkipHeld and DropHeld return when their effect is durable. They block until the messages before it in the lane
// are in the store and a commit is stored, and return soon after ctx ends. by names who calls, for the log. lane is the text of
// the key's lane, as Held returns it. They fail with [ErrNotOwned], [ErrNotHeld], [ErrNotStored], the error of the store or the
// cause of ctx; after these two the effect may still come.
func (p *Pipeline) ResumeHeld(ctx context.Context, stream string, partition int32, lane, by string) (records int64, err error) {
	err = p.operate(ctx, EventResumed, stream, partition, lane, by, func(h *heldKey) error {
		if _, _, err := h.answered(ctx, EventResumed); err != nil {
			return err
		}
		records = h.records()
		h.act.Messages, h.what = records, slog.Int64("records", records)
		return h.resume(ctx, discard{through: -1})
	})
	return records, err
}

// SkipHeld discards the first message of a held key, and lets the key go on with the next. It returns the offset of the
// message. The message was handled as often as its handler failed; it is not dead-lettered.
func (p *Pipeline) SkipHeld(ctx context.Context, stream string, partition int32, lane, by string) (offset int64, err error) {
	offset = -1
	err = p.operate(ctx, EventSkipped, stream, partition, lane, by, func(h *heldKey) error {
		x, done, err := h.answered(ctx, EventSkipped)
		if err != nil {
			return err
		}
		if !done {
			ms, err := h.first(ctx)
			if err != nil {
				return err
			}
			if len(ms) == 0 {
				return h.resume(ctx, discard{through: -1})
			}
			x = discard{EventSkipped, ms[0].Offset, 1, int64(ms[0].Size())}
		}
		h.act.Messages, h.what = x.records, slog.Int64("offset", x.through)
		if err := h.resume(ctx, x); err != nil {
			return err
		}
		offset = x.through
		return nil
	})
	return offset, err
}

// DropHeld discards all messages of a held key that are in the store, and lets the key go on with later ones. It returns
// their number.
func (p *Pipeline) DropHeld(ctx context.Context, stream string, partition int32, lane, by string) (records int64, err error) {
	err = p.operate(ctx, EventDropped, stream, partition, lane, by, func(h *heldKey) error {
		x, done, err := h.answered(ctx, EventDropped)
		if err != nil {
			return err
		}
		if !done {
			h.d.mu.Lock()
			x = discard{EventDropped, h.st.high, h.st.records, h.st.bytes}
			h.d.mu.Unlock()
		}
		h.act.Messages, h.what = x.records, slog.Int64("records", x.records)
		if err := h.resume(ctx, x); err != nil {
			return err
		}
		records = x.records
		return nil
	})
	return records, err
}

// heldKey is a key that an operator works on.
type heldKey struct {
	d    *divert
	st   *strand
	act  Event     // told once it is durable
	what slog.Attr // of its line
}

// operate runs an operation on a held key, alone.
func (p *Pipeline) operate(ctx context.Context, what EventKind, stream string, partition int32, lane, by string, do func(*heldKey) error) error {
	wrap := func(err error) error {
		return fmt.Errorf("pipeline: %s %s/%d key %s: %w", what.act(), stream, partition, lane, err)
	}
	h, err := p.held(stream, partition, lane)
	if err != nil {
		return wrap(err)
	}
	if err := h.begin(ctx); err != nil {
		return wrap(err)
	}
	defer h.end()
	h.act = Event{Kind: what, Key: lane, By: by}
	if err := do(h); err != nil {
		return wrap(err)
	}
	return nil
}

// divertOf returns the divert of a partition that is owned.
func (p *Pipeline) divertOf(stream string, partition int32) (*divert, error) {
	p.mu.Lock()
	pt := p.owned[name{stream, partition}]
	p.mu.Unlock()
	switch {
	case p.cfg.store == nil:
		return nil, errNoStore
	case pt == nil:
		return nil, ErrNotOwned
	}
	return pt.divert, nil
}

// held returns a held key by the text of its lane.
func (p *Pipeline) held(stream string, partition int32, text string) (*heldKey, error) {
	d, err := p.divertOf(stream, partition)
	if err != nil {
		return nil, err
	}
	lane, err := keystrand.ParseLane(text)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.strands[string(lane)]
	switch {
	case d.cut:
		return nil, ErrNotOwned
	case st == nil || !st.held:
		return nil, ErrNotHeld
	}
	return &heldKey{d: d, st: st}, nil
}

// begin waits until the pump waits for an operator, everything before it is committed, and no other operator works on the key.
func (h *heldKey) begin(ctx context.Context) error {
	d, st := h.d, h.st
	var gone error
	err := d.pt.gate.await(ctx, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch {
		case d.cut:
			gone = ErrNotOwned
		case d.strands[st.lane] != st || !st.held:
			gone = ErrNotHeld
		case d.waitsLocked(st) != nil:
			gone = d.waitsLocked(st)
		case !st.parked || !st.committed || st.operated, st.converts || st.again > 0 || st.inFlight() > 0: // records with smaller offsets may come
			d.wanted.Store(true)
			return false
		default:
			st.operated = true
		}
		return true
	})
	return cmp.Or(gone, err)
}

func (h *heldKey) end() {
	h.d.mu.Lock()
	h.st.operated = false
	h.d.mu.Unlock()
	h.d.pt.gate.poke()
}

func (h *heldKey) records() int64 {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.st.records
}

// first returns the first message of the key.
func (h *heldKey) first(ctx context.Context) ([]keystrand.Message, error) {
	h.d.mu.Lock()
	after := h.st.done
	h.d.mu.Unlock()
	return h.read(ctx, after, 1)
}

func (h *heldKey) read(ctx context.Context, after int64, n int) (ms []keystrand.Message, err error) {
	err = h.d.call(ctx, "Read", func(ctx context.Context) error {
		ms, err = h.d.log.Read(ctx, h.st.lane, after, spill.Size{Messages: n})
		h.d.told(ctx, opRead, err)
		return err
	})
	return ms, err
}

// call makes a call of the store for an operator. Its ctx ends with the fence too, and the log is closed after it has returned.
func (d *divert) call(ctx context.Context, name string, f func(context.Context) error) error {
	d.mu.Lock()
	if d.cut {
		d.mu.Unlock()
		return ErrNotOwned
	}
	d.busy.Add(1)
	d.mu.Unlock()
	defer d.pt.gate.poke()
	defer d.busy.Add(-1)
	defer d.p.calls.begin(name + d.of)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.reads, cancel)() //nolint:contextcheck // the ctx of the ownership
	return f(ctx)
}

// discard is what an operation discards: the messages through an offset.
type discard struct {
	what           EventKind
	through        int64
	records, bytes int64
}

// answered returns the last discard of the key that the store has not answered, and reports whether the store has done it: an
// operation that is made again must not discard further messages. It counts the messages, unless it is the same operation.
func (h *heldKey) answered(ctx context.Context, what EventKind) (x discard, done bool, err error) {
	h.d.mu.Lock()
	asked := h.st.asked
	h.d.mu.Unlock()
	if asked == nil {
		return x, false, nil
	}
	ms, err := h.first(ctx)
	if err != nil {
		return x, false, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.st.asked = nil
	if len(ms) > 0 && ms[0].Offset <= asked.through {
		return x, false, nil
	}
	if asked.what == what {
		return *asked, true, nil
	}
	h.discardedLocked(*asked)
	return x, false, nil
}

// resume stores that a key is held no longer, and what is discarded of it, and lets it go on.
func (h *heldKey) resume(ctx context.Context, x discard) error {
	d, st := h.d, h.st
	err := d.call(ctx, "Save", func(ctx context.Context) error {
		err := d.log.Save(ctx, []spill.Mark{{Key: st.lane, Through: x.through, Change: spill.Resume}})
		d.told(ctx, opSave, err)
		return err
	})
	if err != nil {
		if x.records > 0 {
			d.mu.Lock()
			st.asked = &x
			d.mu.Unlock()
		}
		d.final(err)
		return err
	}
	d.mu.Lock()
	h.discardedLocked(x)
	if w := st.drain; w != nil {
		for _, number := range w.noted {
			d.pt.errors.Delete(number)
		}
	}
	st.held, st.saved, st.why, st.drain = false, false, "", nil // nothing is in flight
	if x.through < 0 {
		st.drain = &draining{passed: st.done, again: 1, blocks: 1} // its failure is counted
	}
	d.held--
	d.mu.Unlock()
	d.p.report.tell(d.pt, h.act, h.what)
	h.unpark() // it must not be given up, so it has no ctx
	return nil
}

// unpark makes the pump's lane go on. The turn that parks it may not have returned yet.
func (h *heldKey) unpark() {
	for !h.d.pt.queue.Resume(h.st.lane) {
		h.d.mu.Lock()
		over := h.d.cut || !h.st.parked
		h.d.mu.Unlock()
		if over || pause.For(h.d.reads, time.Millisecond) != nil {
			return
		}
	}
}

// discardedLocked counts messages that were discarded.
func (h *heldKey) discardedLocked(x discard) {
	h.st.done, h.st.marked = max(h.st.done, x.through), max(h.st.marked, x.through)
	h.d.totals.Discarded += x.records
	h.d.takenLocked(h.st, x.records, x.bytes)
}
