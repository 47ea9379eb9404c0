package livetest

import (
	"slices"
	"time"
)

// What is here holds a service to its promises that tells a new owner nothing and keeps back what is acknowledged
// ([History.Withholds]). An owner is then judged by what was settled when it began, by anybody:
//
//   - a message starts only when each earlier one of its key was settled then, or has been settled by this owner. What
//     was not settled then, the service had to hand out, so the settlements of others since then do not count;
//   - the last settlements of a key's messages are in their order: when one comes again, all later ones of its key come
//     again behind it, or were not settled before;
//   - what comes again was not covered by a commit that was stored, or was among what Stored.Replays said, or its
//     confirmation is one of those that the service may forget: all while it ends, and the newest before that;
//   - a commit claims nothing that its owner has begun and not settled, whatever earlier owners have done with it.

// begins notes what a new owner may leave out, and what may come to it again.
func (c *checker) begins(old, o *owner) {
	p := o.place
	o.known = slices.Clone(p.settled)
	o.may = make([]bool, len(p.messages))
	if old == nil {
		return
	}
	for i := range o.known {
		// An owner that gave the place back in order has acknowledged all that it has settled.
		open := p.forgot[i] || p.acked[i] == 0 && !(old.inOrder() && old.covered[i])
		if o.may[i] = o.known[i] && open; o.may[i] {
			c.report.Figures.Bound++
		}
	}
	o.spare = old.stored.replays + old.spare - old.spent
	c.report.Figures.Bound += o.spare
}

// withheld tells whether the service need not hand a message out to the owner.
func (o *owner) withheld(i int) bool { return o.known != nil && o.known[i] }

// again is a message that comes again to the owner of the place.
func (c *checker) again(e *Event, o *owner, i int) {
	p := o.place
	p.acked[i], p.forgot[i] = 0, false // it is not acknowledged, or would not have come
	if !o.known[i] || o.may[i] {
		return
	}
	if o.spent == o.spare {
		c.wrong(RuleReplay, "%v: it is settled, a commit that says so was stored, and it comes again (%d such messages may)", e, o.spare)
		return
	}
	o.spent++
}

// confirm notes that a commit is stored; ending: by a service that perhaps forgets it.
func (p *place) confirm(progress Progress, at int64, ending bool) {
	mark := func(from, to int) {
		for i := from; i < to; i++ {
			if p.acked[i] == 0 {
				p.acked[i], p.forgot[i] = at, ending
			}
		}
	}
	mark(0, p.from(progress.Frontier))
	for _, r := range progress.Ahead {
		mark(p.from(r.From), p.from(r.To))
	}
	p.confirmed = at
}

// forget notes that the service may have lost the newest of what it has confirmed. It writes now and then, with all that
// was confirmed until then: where nothing was confirmed for a while, the newest can be old.
func (p *place) forget(newest time.Duration) {
	for i, at := range p.acked {
		if at != 0 && at >= p.confirmed-int64(newest) {
			p.forgot[i] = true
		}
	}
}

// inOrder looks at the last settlement of each message. One that only an owner has settled who was not the newest any
// more has none.
func (c *checker) inOrder(p *place) {
	latest := map[string]int{} // index of the message of the key that was settled last, so far
	for i, m := range p.messages {
		if p.last[i] == 0 {
			continue
		}
		l, found := latest[m.Key]
		if found && p.last[i] < p.last[l] {
			c.wrong(RuleOrder, "%v: offset %d of key %s was settled again after the last time that offset %d was, which comes behind it",
				p.name, p.messages[l].Offset, m.Key, m.Offset)
			continue
		}
		latest[m.Key] = i
	}
}
