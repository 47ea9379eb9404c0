package pipeline

import (
	"log/slog"
	"math"
	"slices"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline/internal/budget"
	"github.com/keystrand/keystrand/source"
)

// placement is the result of the key function for a message of the batch that is submitted.
type placement struct {
	key keystrand.Key
	err error
}

// submit is Pipeline.submit of a pipeline with a store. Each message goes to its lane or to the log of its key.
func (d *divert) submit(b *source.Batch, first int64, settled []bool) error {
	d.callKeys(b, settled)
	var r routed
	err := d.route(b, first, settled, &r)
	if len(r.handled) > 0 {
		d.p.left(d.pt, r.handled, r.size, true)
		d.mu.Lock()
		d.settling = false
		d.mu.Unlock()
	}
	for _, e := range r.began {
		d.p.report.line(d.pt, e, slog.Int64("from", b.Next))
	}
	return err
}

// routed is what submit does after route has unlocked.
type routed struct {
	handled []int64 // numbers of messages that an earlier owner handled from the log
	size    budget.Usage
	began   []Event // keys that were diverted
}

// callKeys calls the key function of the user or of the source, if there is one, for the messages of a batch. It must not run with mu held.
func (d *divert) callKeys(b *source.Batch, settled []bool) {
	if d.p.cfg.key == nil {
		return
	}
	d.placed = slices.Grow(d.placed[:0], len(b.Messages))[:len(b.Messages)]
	for i := range b.Messages {
		if settled == nil || !settled[i] {
			d.placed[i].key, d.placed[i].err = d.p.keyOf(&b.Messages[i])
		}
	}
}

// keyOf returns the key of message i of the batch.
func (d *divert) keyOf(i int, m *keystrand.Message) (keystrand.Key, error) {
	if d.p.cfg.key == nil {
		return keystrand.ByKey(m)
	}
	return d.placed[i].key, d.placed[i].err
}

// route submits a batch. Between its first message and its end no key is diverted or turns direct, but by route itself.
func (d *divert) route(b *source.Batch, first int64, settled []bool, r *routed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return source.ErrLeaving
	}
	d.pt.queue.SetDeep(d.p.depth())
	var deep []string
	var size budget.Usage
	lanes := d.pt.queue.Batch()
	submit := func() error {
		d.p.budget.Take(d.pt.share, size)
		size = budget.Usage{}
		return d.pt.queue.Submit(lanes)
	}
	for i := range b.Messages {
		if settled != nil && settled[i] {
			continue
		}
		m, number := &b.Messages[i], first+int64(i)
		u := budget.Usage{Messages: 1, Bytes: int(min(int64(m.Size()), math.MaxUint32))}
		size = size.Plus(u)
		if len(d.strands) == 0 && d.p.cfg.key == nil { // as without a store
			fill(d.p.place(d.pt, lanes, m, number), m, u, lanes)
			continue
		}
		key, err := d.keyOf(i, m)
		over, closes := d.divertLocked(m, key, err, number, u, r)
		if over {
			continue
		}
		if closes { // pumps go behind what was before this message
			if err := submit(); err != nil {
				return err
			}
			deep = append(deep, lanes.Deep()...)
			d.closeLocked(key, m.Offset)
			lanes = d.pt.queue.Batch()
		}
		fill(d.p.lay(d.pt, lanes, key, err, number), m, u, lanes)
	}
	if err := submit(); err != nil {
		return err
	}
	d.position = b.Next
	d.placeLocked()
	for _, lane := range append(deep, lanes.Deep()...) {
		d.beginLocked(lane, r)
	}
	clear(d.placed)
	return nil
}

// divertLocked diverts a message if it belongs to the log of its key. closes reports that the message has several lanes, or
// is a barrier, and that strands must close before it.
func (d *divert) divertLocked(m *keystrand.Message, key keystrand.Key, err error, number int64, size budget.Usage, r *routed) (over, closes bool) {
	if len(d.strands) == 0 {
		return false, false
	}
	lane, more, ordered := key.Lanes()
	switch {
	case err == nil && key.IsBarrier():
		for _, st := range d.strands {
			over = d.settledLocked(st, m.Offset) || over
		}
		closes = !over
	case err == nil && ordered && len(more) > 0:
		for _, l := range append([]string{lane}, more...) {
			if st := d.ofKeyLocked(l); st != nil {
				over, closes = d.settledLocked(st, m.Offset) || over, true
			}
		}
		closes = closes && !over
	default:
		st := d.ofKeyLocked(lane)
		if err != nil || !ordered {
			if d.unordered == 0 {
				return false, false
			}
			st = d.strands[unorderedLane(m.Offset)]
		}
		switch {
		case st == nil:
			return false, false
		case d.settledLocked(st, m.Offset):
			over = true
		case st.closing, m.Offset < st.from: // below from it was in the lane when the key was diverted
			return false, false
		case m.Offset <= st.marked:
			over = true
			st.settles++
		default:
			d.pt.diverted.Add(1)
			d.appendLocked(st, m, number, size, nil)
			return true, false
		}
	}
	if over { // an earlier owner settled it
		d.settling = true
		d.pt.diverted.Add(1)
		r.handled = append(r.handled, number)
		r.size = r.size.Plus(size)
	}
	return over, closes
}

// settledLocked reports whether an earlier owner settled a message that does not belong to the log of a strand.
func (d *divert) settledLocked(st *strand, offset int64) bool {
	if !st.settledBefore(offset) {
		return false
	}
	st.settles++
	return true
}

// closeLocked closes the strands of a message of several lanes, or all for a barrier: it joins its lanes behind the pumps.
func (d *divert) closeLocked(key keystrand.Key, offset int64) {
	closing := func(st *strand) {
		if offset < st.from && !st.foreign {
			return
		}
		if !st.placed {
			d.putLocked(st)
		}
		st.closing = true
		d.wakeLocked(st)
	}
	if key.IsBarrier() {
		for _, st := range d.strands {
			closing(st)
		}
		return
	}
	lane, more, _ := key.Lanes()
	for _, l := range append([]string{lane}, more...) {
		if st := d.ofKeyLocked(l); st != nil {
			closing(st)
		}
	}
}
