package pipeline

import (
	"context"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
)

// noted is a strand whose mark may be saved after the commit that follows.
type noted struct {
	st      *strand
	done    int64
	settles int32 // of the strand, if all of them are settled; else -1
}

// note returns the strands whose marks may follow the commit whose progress is taken next. The commit comes before the mark: a
// mark ahead of the committed progress would let messages from before the divert come again, behind records that do not.
func (d *divert) note() []noted {
	if d == nil || d.strung.Load() == 0 {
		return nil
	}
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted.Store(false)
	var all []noted
	for _, st := range d.strands {
		if st.begun && (st.done > st.marked || !st.committed || st.covered != st.settles) {
			x := noted{st, st.done, st.settles}
			if d.settling || st.appending > 0 {
				x.settles = -1
			}
			all = append(all, x)
		}
	}
	return all
}

// begin finds the strands whose messages from before the divert are all settled: none is in the lane, nor on the way to a sink.
func (d *divert) begin() {
	headed := d.headed() // before the outputs: a pump that gets there later may follow one that is not among them
	if len(headed) == 0 {
		return
	}
	onTheWay := d.lanesOnTheWay()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range headed {
		if !d.gone && !st.converts && !onTheWay[st.lane] {
			st.begun = true
		}
	}
}

// headed returns the strands whose pump has reached the head of its lane, and that have not begun.
func (d *divert) headed() (all []*strand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.strands {
		if st.headed && !st.begun && !st.converts && !d.gone {
			all = append(all, st)
		}
	}
	return all
}

// lanesOnTheWay returns the lanes whose messages have left them and are not settled: their outputs are on the way to the sink.
func (d *divert) lanesOnTheWay() map[string]bool {
	if d.p.outputs == nil || d.pt.written() {
		return nil
	}
	lanes := map[string]bool{}
	d.p.outputs.Find(d.pt.outputs, func(o *output) bool {
		if v := &o.Value; v.named && v.number >= 0 {
			lanes[string(v.lane)] = true
		}
		return false
	})
	return lanes
}

// committed saves the marks that were noted before a commit that is stored.
func (d *divert) committed(ctx context.Context, stored commit.Stored, all []noted) {
	var marks []spill.Mark
	var marked []noted // one for each of marks
	d.mu.Lock()
	if len(all) == 0 || d.marking || d.closed {
		d.mu.Unlock()
		return
	}
	for _, x := range all {
		if d.strands[x.st.lane] != x.st {
			continue
		}
		if !x.st.committed && (x.st.foreign || stored.Frontier >= x.st.from || stored.Replays == 0) {
			x.st.committed = true
			d.wakeLocked(x.st)
		}
		if x.settles >= 0 && x.st.covered != x.settles {
			x.st.covered = x.settles
			d.wakeLocked(x.st)
		}
		if x.st.committed && x.done > x.st.marked && !x.st.removing {
			marks = append(marks, spill.Mark{Key: x.st.lane, Through: x.done})
			marked = append(marked, x)
		}
	}
	if d.marking = len(marks) > 0; d.marking {
		d.busy.Add(1)
	}
	d.mu.Unlock()
	if len(marks) == 0 {
		d.pt.gate.poke()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.saves, cancel)()            //nolint:contextcheck // as the next
	defer context.AfterFunc(d.p.ending.commits, cancel)() //nolint:contextcheck // the ctx of the end of Run
	err := d.save(ctx, marks...)
	d.mu.Lock()
	for i := 0; i < len(marked) && err == nil; i++ {
		x := marked[i]
		x.st.marked = max(x.st.marked, x.done)
	}
	d.marking = false
	for _, st := range d.afterMarks {
		d.wakeLocked(st)
	}
	d.afterMarks = nil
	d.mu.Unlock()
	d.busy.Add(-1)
	if err != nil {
		d.final(err) // else the next tick saves it
	}
	d.pt.gate.poke()
}

// saveMarks saves marks if everything settled is committed: then no commit follows that would.
func (p *Pipeline) saveMarks(ctx context.Context, pt *partition) {
	all := pt.divert.note()
	if stored, covered := pt.commits.Covers(pt.tracker.State()); covered {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.timing.CommitTimeout)
		defer cancel()
		pt.divert.committed(ctx, stored, all)
	}
}

// hasMarks reports whether marks may have to be saved.
func (d *divert) hasMarks() bool {
	if d == nil || d.strung.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.marking || d.log == nil {
		return false
	}
	for _, st := range d.strands {
		if st.headed && (st.done > st.marked || !st.committed || st.covered != st.settles) {
			return true
		}
	}
	return false
}
