package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
)

// open opens the store, before the first fetch, and takes over the strands that it has. It tries until ctx ends, unless the
// partition is lost or the store is unusable: then it waits for the end of ctx.
func (d *divert) open(ctx context.Context) error {
	d.pt.waits.Store(int32(WaitDivert))
	owner := spill.Owner{Stream: d.pt.id.Stream, Partition: d.pt.id.Partition, Epoch: d.pt.id.Epoch, Log: d.pt.tracker.Progress().Log}
	for {
		log, strands, err := d.openStore(ctx, owner)
		d.told(ctx, opOpen, err)
		if err == nil {
			d.restore(log, strands)
			return nil
		}
		if ctx.Err() == nil && d.final(err) {
			<-ctx.Done()
		}
		if pause.For(ctx, storePause) != nil {
			return context.Cause(ctx)
		}
	}
}

func (d *divert) openStore(ctx context.Context, owner spill.Owner) (log spill.Log, strands []spill.Strand, err error) {
	defer d.p.calls.begin("Open" + d.of)()
	return d.p.cfg.store.Open(ctx, owner)
}

// restore takes over the strands of the owner before.
func (d *divert) restore(log spill.Log, strands []spill.Strand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = log
	for i := range strands {
		s := &strands[i]
		st := &strand{
			lane: s.Key, from: s.From, restored: s.High, high: s.High, done: s.Mark, marked: s.Mark,
			records: s.Records, bytes: s.Bytes, held: s.Held, saved: s.Held, why: s.Reason, foreign: s.Foreign, otherLog: s.Log, inherited: s.Mark >= 0 && !s.Foreign,
		}
		if s.Records > 0 && !s.Since.IsZero() {
			st.oldest, st.undated = s.Since.UnixNano(), true
		}
		if st.foreign { // its offsets cannot be compared with those of the messages that are fetched
			st.restored, st.closing, st.sealed, st.committed = -1, true, true, true
		}
		d.addLocked(st)
		d.due = append(d.due, st)
		d.totals.Restored += s.Records
		d.totals.Records += s.Records
		d.totals.Bytes += s.Bytes
		d.p.diverts.add(s.Bytes)
	}
	slices.SortFunc(d.due, func(a, b *strand) int { return cmp.Compare(a.dueAt(), b.dueAt()) })
	d.placeLocked()
}

// close closes the log after the last call. It is called before the partition is released.
func (d *divert) close() {
	defer d.p.calls.begin("a call" + d.of)()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.noSaves() // those of a partition that was not lost have ended
	_ = d.pt.gate.await(context.Background(), d.quiet)
	d.mu.Lock()
	log := d.log
	for _, st := range d.strands {
		d.p.diverts.add(-st.bytes)
		st.bytes = 0
		if w := st.drain; w != nil { // a late turn gives nothing
			u := budget.Usage{}
			for i := w.at; w.pooled && i < len(w.items); i++ {
				u = u.Plus(w.items[i].usage())
			}
			for _, f := range w.flights[:len(w.flights)-w.running] {
				if f.pooled {
					u = u.Plus(budget.Usage{Messages: 1, Bytes: f.size})
				}
			}
			d.p.diverts.give(u)
		}
	}
	d.mu.Unlock()
	if log == nil {
		return
	}
	if err := log.Close(); err != nil {
		d.p.failed(fmt.Errorf("pipeline: close the store of diverted keys for %v: %w", d.pt.id, err))
	}
}

// trouble is why the store does not work for a partition. Guarded by divert.mu.
type trouble struct {
	err    error
	since  time.Time
	failed operations // whose last call failed; a full disk can be read
}

// operations is a set of operations of the store.
type operations uint8

const (
	opOpen operations = 1 << iota
	opAppend
	opRead
	opSave
)

// told records the result of a call of the store. The end of the call's ctx is no trouble, but a timeout is.
func (d *divert) told(ctx context.Context, op operations, err error) {
	if err != nil && (ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, commit.ErrFenced)) {
		return
	}
	if _, ok := errors.AsType[*spill.RecordError](err); ok || errors.Is(err, spill.ErrRecordsLeft) {
		err = nil // the store works
	}
	d.mu.Lock()
	t := &d.trouble
	before := t.failed
	if err == nil {
		t.failed &^= op
	} else {
		t.failed |= op
		t.err = err
	}
	began, ended := before == 0 && t.failed != 0, before != 0 && t.failed == 0
	switch {
	case began:
		t.since = time.Now()
	case ended:
		*t = trouble{}
	}
	d.mu.Unlock()
	switch {
	case began:
		d.p.report.collect(burstStoreFailed, d.pt.id, err)
	case ended:
		d.p.report.collect(burstStoreRecovered, d.pt.id, nil)
	}
}

// final reports whether an error of the store is final for the partition. It then ends the ownership, or Run.
func (d *divert) final(err error) bool {
	switch {
	case errors.Is(err, commit.ErrFenced):
		d.pt.lose(err)
	case errors.Is(err, spill.ErrUnusable):
		d.p.failed(fmt.Errorf("pipeline: the store of diverted keys for %v: %w", d.pt.id, err))
	default:
		return false
	}
	return true
}
