package livetest

import "slices"

type turnID struct {
	ownerID
	offset int64
}

// turn is a handler that runs.
type turn struct {
	member string
	owner  *owner
	index  int
}

// underWay tells whether a turn that starts although another one was cancelled can have been with its worker before the
// fence: a partition that is lost has its handlers cancelled at once, those too that are just about to say that they have
// begun. There are no more of them than workers. Who leaves in order has waited for them before it cancels anything.
func (c *checker) underWay(o *owner) bool {
	o.startedLate++
	return c.evicted[o.id] && o.startedLate <= c.h.Workers
}

func (c *checker) started(e *Event, m *member, o *owner) {
	c.report.Figures.Turns++
	i, known := o.place.at[e.Offset]
	if !known {
		c.wrong(RuleForeign, "%v: nobody produced it for a reader", e)
		return
	}
	msg := &o.place.messages[i]
	if msg.Key != e.Key || msg.Number != e.Number {
		c.wrong(RuleForeign, "%v: number %d, produced as key %s number %d", e, e.Number, msg.Key, msg.Number)
	}
	o.place.notePause(o, e.At, &c.report.Figures)
	now, excused := c.current(o)
	switch {
	case o.released && !o.lost:
		c.wrong(RuleFence, "%v: released before", e)
	case !now && !excused:
		c.wrong(RuleOwner, "%v: epoch %d owns it", e, o.place.newest.id.epoch)
	case o.cancelled > 0 && e.At > o.cancelled && !c.underWay(o):
		c.wrong(RuleFence, "%v: another handler of this epoch was cancelled before", e)
	}
	switch before := o.place.before[i]; {
	case o.covered[i] || o.handled[i]:
		c.wrong(RuleOrder, "%v: this owner has settled it, or was told that it is settled", e)
	case before >= 0 && !o.covered[before] && !o.handled[before] && !o.withheld(before):
		c.wrong(RuleOrder, "%v: offset %d of the key is not settled", e, o.place.messages[before].Offset)
	}
	switch {
	case !now:
		c.report.Figures.Stale++
	case o.place.settled[i] && !o.tried[i]:
		c.report.Figures.Again++
		if c.h.Withholds {
			c.again(e, o, i)
		}
	}
	if o.tried[i] {
		c.report.Figures.Attempts++
	}
	o.tried[i] = true
	for _, t := range o.place.running[e.Key] {
		older := min(t.owner.id.epoch, o.id.epoch)
		_, cut := c.current(o.place.owners[older])
		if t.member == e.Member || t.owner.id.epoch == o.id.epoch || !cut {
			c.wrong(RuleSerial, "%v: offset %d of the key is running in %s, epoch %d", e, o.place.messages[t.index].Offset, t.member, t.owner.id.epoch)
			continue
		}
		c.report.Figures.Overlaps++
	}
	t := &turn{member: e.Member, owner: o, index: i}
	m.open[turnID{o.id, e.Offset}] = t
	o.open[i] = t
	o.place.running[e.Key] = append(o.place.running[e.Key], t)
}

func (c *checker) finished(e *Event, m *member, o *owner) {
	id := turnID{o.id, e.Offset}
	t := m.open[id]
	if _, known := o.place.at[e.Offset]; !known {
		return // told when it began
	}
	if t == nil {
		c.wrong(RuleConserve, "%v: ended without having begun", e)
		return
	}
	delete(m.open, id)
	c.close(t)
	switch e.Text {
	case Settled:
		if c.h.Outputs {
			o.handled[t.index] = true
		} else {
			c.settle(o, t.index)
		}
	case Cancelled:
		if o.cancelled == 0 || e.At < o.cancelled {
			o.cancelled = e.At
		}
		c.report.Figures.Cancelled++
	case Failed:
	default:
		c.wrong(ruleNoMessage, "%v: outcome %q", e, e.Text)
	}
}

// written is an output that is durable, which settles its message. The release of a partition waits for the Writes that
// are under way, also when it is lost: what became durable later could stand behind the outputs of another owner.
func (c *checker) written(e *Event, o *owner) {
	i, known := o.place.at[e.Offset]
	if !known || !o.handled[i] {
		c.wrong(RuleConserve, "%v: its output is durable, and its handler has not returned", e)
		return
	}
	if o.covered[i] {
		c.wrong(RuleOrder, "%v: its output is written again by the same owner, who was told that it is durable", e)
	}
	if before := o.place.before[i]; before >= 0 && !o.covered[before] && !o.withheld(before) {
		c.wrong(RuleOrder, "%v: its output is durable, and that of offset %d of the key is not", e, o.place.messages[before].Offset)
	}
	if o.released {
		c.wrong(RuleFence, "%v: its output became durable after the release", e)
	}
	o.largest = max(o.largest, int(e.Number))
	c.settle(o, i)
}

// settle is a message that the owner has settled.
func (c *checker) settle(o *owner, i int) {
	if o.settle(i) {
		c.report.Figures.Bound++
	}
	if now, _ := c.current(o); now {
		o.place.last[i] = c.now
	}
}

// close takes a turn out of those that run.
func (c *checker) close(t *turn) {
	p, key := t.owner.place, t.owner.place.messages[t.index].Key
	p.running[key] = slices.DeleteFunc(p.running[key], func(o *turn) bool { return o == t })
	delete(t.owner.open, t.index)
}
