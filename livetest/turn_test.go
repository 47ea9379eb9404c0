package livetest

func (c *checker) started(e *Event, o *owner, i int) {
	c.Figures.Turns++
	m, v := &o.messages[i], &o.views[i]
	now, excused := o.current()
	switch {
	case o.released && !o.lost:
		c.wrong(RuleFence, "%v: released before", e)
	case !now && !excused:
		c.wrong(RuleOwner, "%v: epoch %d owns it", e, o.newest.epoch)
	case o.cancelled > 0 && e.At > o.cancelled && !c.underWay(o):
		c.wrong(RuleFence, "%v: another handler of this epoch was cancelled before", e)
	}
	switch before := m.before; {
	case v.covered || v.handled:
		c.wrong(RuleOrder, "%v: this owner has settled it, or was told that it is settled", e)
	case !c.passed(o, before) && !o.views[before].handled:
		c.wrong(RuleOrder, "%v: offset %d of the key is not settled", e, o.messages[before].Offset)
	}
	switch {
	case !now:
		c.Figures.Stale++
	case m.settled && !v.tried:
		c.again(e, o, i)
	}
	if v.tried {
		c.Figures.Retries++
	}
	if e.Text == Behind {
		c.Figures.Behind++
	}
	v.tried = true
	for _, t := range c.running {
		if t.place != o.place || t.messages[t.index].Key != m.Key {
			continue
		}
		c.Figures.Overlaps++
		if _, cut := o.owners[min(t.epoch, o.epoch)].current(); t.member == o.member || t.owner == o || !cut {
			c.wrong(RuleSerial, "%v: offset %d of the key is running in %s, epoch %d", e, t.messages[t.index].Offset, t.member.name, t.epoch)
		}
	}
	c.running = append(c.running, turn{o, i})
}

// passed reports whether the owner may pass over a message: it has settled it, or the service need not deliver it.
func (c *checker) passed(o *owner, i int) bool {
	return i < 0 || o.views[i].covered || c.Withholds && o.views[i].known
}

// underWay reports whether a turn whose handler starts after another one was cancelled can have been with its worker before
// the fence. A leave cancels handlers after a loss and at the end of the drain. On a busy machine a worker can need longer
// than the drain from taking its turn to the first line of the handler. Each worker has at most one such turn.
func (c *checker) underWay(o *owner) bool {
	o.startedLate++
	return o.startedLate <= c.Workers
}

func (c *checker) finished(e *Event, o *owner, i int) {
	if c.close(func(t turn) bool { return t == turn{o, i} }) == 0 {
		c.wrong(RuleConserve, "%v: ended without having begun", e)
		return
	}
	switch e.Text {
	case Settled:
		if o.views[i].handled = true; !c.Outputs {
			o.settle(i, c.now)
		}
	case Cancelled:
		if o.cancelled == 0 || e.At < o.cancelled {
			o.cancelled = e.At
		}
		c.Figures.Cancelled++
	case Failed:
	default:
		c.wrong(RuleHistory, "%v: outcome %q", e, e.Text)
	}
}

// written is a durable output, which settles its message. Release waits for Writes, after a loss too: an output that became
// durable later could be stored after those of another owner.
func (c *checker) written(e *Event, o *owner, i int) {
	v, before := &o.views[i], o.messages[i].before
	if !v.handled {
		c.wrong(RuleConserve, "%v: its output is durable, and its handler has not returned", e)
		return
	}
	c.wrongIf(v.covered, RuleOrder, "%v: its output is written again by an owner that knows it is durable", e)
	if !c.passed(o, before) {
		c.wrong(RuleOrder, "%v: its output is durable, and that of offset %d of the key is not", e, o.messages[before].Offset)
	}
	c.wrongIf(o.released, RuleFence, "%v: its output became durable after the release", e)
	o.largest = max(o.largest, e.Count)
	o.settle(i, c.now)
}
