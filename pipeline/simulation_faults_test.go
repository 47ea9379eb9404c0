package pipeline_test

import (
	"context"
	"slices"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	spillmemory "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/source"
)

// outage is a service that does not work for a while.
type outage struct {
	until time.Time
	hangs bool // calls hang rather than fail
}

const (
	outSink = iota
	outStore
	outCommit
	nOutages
)

// trouble takes time and fails in so many per cent of calls, or during an outage.
func (w *world) trouble(ctx context.Context, service int, takes time.Duration, percent int, about []int64) error {
	w.mu.Lock()
	o, healed := w.outage[service], w.healed
	w.mu.Unlock()
	left := time.Until(o.until)
	if left > 0 && !healed {
		w.faulty()
		if !o.hangs {
			left = min(left, time.Millisecond)
		}
		if err := wait(ctx, left); err != nil {
			return err
		}
		if !o.hangs {
			return errFault
		}
	}
	if err := wait(ctx, takes); err != nil {
		w.faulty()
		return err
	}
	if !healed && w.roll(100, append(about, 1)...) < percent {
		w.faulty()
		return errFault
	}
	return nil
}

func (w *world) faulty() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count(tFaults)
	w.troubleLocked(time.Now())
}

// troubleLocked notes that something does not work until a moment.
func (w *world) troubleLocked(until time.Time) {
	if until.After(w.troubled) {
		w.troubled = until
	}
}

// beforeCommit and afterCommit are hooks of the source.
func (mb *member) beforeCommit(ctx context.Context, id source.ID, p *commit.Progress) error {
	w := mb.w
	about := []int64{aboutCommit, int64(id.Partition), id.Epoch, p.Frontier, int64(len(p.Ahead))}
	if err := w.trouble(ctx, outCommit, time.Duration(w.roll(5, about...))*time.Millisecond, w.set.commitFaults, about); err != nil {
		return err
	}
	return nil
}

func (mb *member) afterCommit(ctx context.Context, id source.ID, p *commit.Progress) error {
	w := mb.w
	mb.stored(id, p)
	about := []int64{aboutCommit, int64(id.Partition), id.Epoch, p.Frontier, int64(len(p.Ahead)), 7}
	return w.trouble(ctx, outCommit, time.Duration(w.roll(3, about...))*time.Millisecond, w.set.commitFaults, about)
}

// storeFault is the Fault of the store.
func (w *world) storeFault(ctx context.Context, c spillmemory.Call) error {
	p := w.parts[c.Owner.Partition]
	w.mu.Lock()
	w.syncLocked(p)
	p.faults++
	dead := p.epochs[c.Owner.Epoch].mb.dead
	about := []int64{aboutStore, int64(c.Op), int64(p.number), c.Owner.Epoch, p.faults}
	if c.Stored {
		w.storedLocked(p, c)
	}
	w.mu.Unlock()
	if dead {
		return errFault
	}
	err := w.trouble(ctx, outStore, time.Duration(w.roll(8, about...))*time.Millisecond, w.set.storeFaults, about)
	if err == nil && ctx.Err() == nil {
		return w.storable(c)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	n := max(len(c.Records), len(c.Marks))
	if i := w.unstorable(c.Records); i >= 0 { // none behind it is stored
		n = i
	}
	if !c.Stored && n > 0 && w.roll(3, append(about, 3)...) == 0 {
		return &spillmemory.PartError{N: w.roll(n+1, append(about, 4)...), Err: err}
	}
	return err
}

// storable refuses an Append with a message that the store can never keep. Marks of its key may not be saved until a restart.
func (w *world) storable(c spillmemory.Call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.unstorable(c.Records)
	if w.healed || c.Stored || i < 0 {
		return nil
	}
	w.count(tRefused)
	w.note("e%d store refuses %d of %q", c.Owner.Epoch, c.Records[i].Message.Offset, c.Records[i].Key)
	w.troubleLocked(w.began.Add(time.Hour))
	return &spill.RecordError{Record: i, Err: errRefused}
}

// unstorable returns the first record that the store can never keep, or -1.
func (w *world) unstorable(rs []spill.Record) int {
	return slices.IndexFunc(rs, func(r spill.Record) bool {
		return w.roll(100, aboutStorable, int64(r.Message.Partition), r.Message.Offset) < w.set.unstorable
	})
}

// storedLocked notes an operation that the store has done.
func (w *world) storedLocked(p *part, c spillmemory.Call) {
	e := c.Owner.Epoch
	switch c.Op {
	case spillmemory.Open:
		p.epoch = max(p.epoch, e) // from now on, effects and marks of earlier owners are refused
		for _, s := range w.store.Strands("posts", p.number) {
			w.note("e%d restored %q from %d high %d mark %d held %v records %v", e, s.Key, s.From, s.High, s.Mark, s.Held, w.store.Offsets("posts", p.number, s.Key))
		}
		w.checkReplaysLocked(p, e)
	case spillmemory.Append:
		for i := range c.Records {
			r := &c.Records[i]
			w.note("e%d append %q %d from %d hold %v", e, r.Key, r.Message.Offset, r.From, r.Hold)
			if r.Hold {
				w.count(tHeld)
			}
		}
	case spillmemory.Save:
		for _, m := range c.Marks {
			w.note("e%d mark %q through %d change %d", e, m.Key, m.Through, m.Change)
			if m.Change == 3 {
				w.count(tRemoved)
			}
		}
	case spillmemory.Read:
		w.note("e%d read %q", e, c.Key)
	}
}

// checkReplaysLocked checks I4 for records: those handled more than a commit interval before their owner ended are
// marked, unless a commit, the store or a sink failed meanwhile.
func (w *world) checkReplaysLocked(p *part, epoch int64) {
	if w.set.commitLimit > 0 {
		return
	}
	for _, f := range p.facts[:p.added] {
		if !f.logged || !f.fromLog || f.by == epoch || f.settled == 0 || w.set.how == "sink" && f.outs == 0 {
			continue // or it has no output, whose order would tell that everything before it is settled
		}
		old := p.epochs[f.by]
		if old.lost.Sub(f.when) > 2*w.set.timing.CommitInterval+200*time.Millisecond && w.troubled.Before(f.when) {
			w.broken("I4: %v was handled from the store %v before epoch %d ended, but is not marked", f, old.lost.Sub(f.when), f.by)
		}
	}
}
