package livetest

import (
	"slices"

	"github.com/keystrand/keystrand/commit"
)

// accepted is a new ownership. The earlier one must be over, and the restored progress must be its last commit.
func (c *checker) accepted(e *Event) {
	p := c.place(Place{e.Stream, e.Partition})
	old := p.newest
	if old != nil && e.Epoch < old.id.epoch && c.members[e.Member].pausedOnce && p.owners[e.Epoch] == nil {
		// The process was frozen before it heard of this ownership. Others have owned the partition since.
		c.newOwner(e, p).frozen = true
		return
	}
	if old != nil {
		c.Figures.HandOvers++
		if e.Epoch <= old.id.epoch {
			c.wrong(RuleEpoch, "%v: epoch %d came before", e, old.id.epoch)
			if p.owners[e.Epoch] != nil {
				return
			}
		}
		_, excused := c.current(old)
		if own := old.member == e.Member; !old.released && (own || !excused && !c.members[old.member].killed) {
			c.wrong(RuleOwner, "%v: %s has not released epoch %d", e, old.member, old.id.epoch)
		}
	}
	if !c.h.Withholds {
		c.restored(e, p)
	}
	o := c.newOwner(e, p)
	switch {
	case old == nil:
	case c.h.Withholds:
		c.begins(old, o)
	default:
		c.replays(e, old, o)
	}
	p.newest = o
}

func (c *checker) newOwner(e *Event, p *place) *owner {
	o := &owner{
		id: idOf(e), place: p, member: e.Member, open: map[int]bool{}, views: make([]view, len(p.messages)),
		checked: p.from(e.Progress.Frontier), endings: len(c.endings),
	}
	if c.ending {
		o.endings--
	}
	for i := range o.views {
		m, v := &p.messages[i], &o.views[i]
		v.covered, v.known = e.Progress.Settled(m.Offset), c.h.Withholds && m.settled
		switch {
		case v.covered && !m.settled:
			c.wrong(RuleProgress, "%v: restored as settled, and nobody has: offset %d", e, m.Offset)
		case !v.covered && m.settled:
			o.outstanding++
		}
	}
	o.restored = o.tries(e.Progress)
	o.try, o.stored = o.restored, o.restored
	p.owners[e.Epoch] = o
	return o
}

// restored checks that the progress of a new owner is a commit that was tried, and no older than the last one known to be
// stored. A store may have cut ranges.
func (c *checker) restored(e *Event, p *place) {
	if len(p.tries) == 0 {
		if len(e.Progress.Ahead) > 0 {
			c.wrong(RuleProgress, "%v: ranges are restored and nobody has committed", e)
		}
		return
	}
	from := 0
	if p.stored != nil {
		from = p.stored.number
		if e.Progress.Frontier < p.stored.progress.Frontier {
			c.wrong(RuleBack, "%v: begins at %d, and %d was stored", e, e.Progress.Frontier, p.stored.progress.Frontier)
			return
		}
	}
	for _, t := range p.tries[from:] {
		if t.progress.Frontier == e.Progress.Frontier && !slices.ContainsFunc(e.Progress.Ahead, func(r commit.Range) bool {
			return !slices.ContainsFunc(t.progress.Ahead, func(o commit.Range) bool { return o.From <= r.From && r.To <= o.To })
		}) {
			return
		}
	}
	c.wrong(RuleProgress, "%v: nobody has committed %+v", e, e.Progress)
}

// replays holds a hand-over to its bound: the messages settled since the last commit known to be stored, and those that it
// could not express. An owner that released the partition in order has committed all.
func (c *checker) replays(e *Event, old, o *owner) {
	last := old.stored
	bound := last.outstanding + last.replays + old.late - last.late
	if !old.inOrder() {
		// So many the pipeline may have settled without having noted it at the last commit.
		unnoted := c.h.Workers
		if c.h.Outputs {
			unnoted = c.h.Writers * old.largest
		}
		bound += old.count - last.count + unnoted
	}
	c.Figures.Bound += bound
	if o.outstanding > bound {
		c.wrong(RuleReplay, "%v: %d settled messages are delivered again, at most %d may be after epoch %d (released in order: %v)",
			e, o.outstanding, bound, old.id.epoch, old.inOrder())
	}
}

// trying is a commit on its way. It claims only settled messages and does not go back.
func (c *checker) trying(e *Event, o *owner) {
	p := o.place
	if o.released {
		c.wrong(RuleStale, "%v: a commit after release", e)
	}
	if e.Progress.Frontier < o.try.progress.Frontier {
		c.wrong(RuleBack, "%v: frontier %d, and %d was tried before", e, e.Progress.Frontier, o.try.progress.Frontier)
	}
	claims := func(i int) {
		if v := o.views[i]; !v.covered && (v.tried || !v.known) {
			c.wrong(RuleProgress, "%v: claims offset %d (frontier %d), which is not settled", e, p.messages[i].Offset, e.Progress.Frontier)
		}
	}
	for upTo := p.from(e.Progress.Frontier); o.checked < upTo; o.checked++ {
		claims(o.checked)
	}
	for _, r := range e.Progress.Ahead {
		for i := p.from(r.From); i < p.from(r.To); i++ {
			claims(i)
		}
	}
	o.try = o.tries(e.Progress)
}

// stored is the answer to the last try. It can reach a frozen or disconnected process after another one has become owner, if
// the try came before that.
func (c *checker) stored(e *Event, o *owner) {
	c.Figures.Commits++
	p, t := o.place, o.try
	if t == o.restored {
		c.wrong(RuleHistory, "%v: nothing was tried", e)
		return
	}
	// A service that withholds has no epochs and cannot refuse. A late acknowledgement of an old owner settles all the same.
	now, excused := c.current(o)
	if !now && (!excused || !c.h.Withholds && t.number > p.newest.restored.number) {
		c.wrong(RuleStale, "%v: stored, and epoch %d owns it", e, p.newest.id.epoch)
	}
	t.replays = int(e.Number)
	o.stored = t
	c.confirm(e, o)
	if p.stored == nil || p.stored.number < t.number {
		p.stored = t
	}
}

// final compares the progress that the service keeps with that of the last owner.
func (c *checker) final(p *place, stored commit.Progress) {
	o := p.newest
	if o == nil {
		if len(p.messages) > 0 {
			c.wrong(RuleFinal, "%v: nobody has owned it", p.name)
		}
		return
	}
	if p.stored != nil && !c.h.Withholds && stored.Frontier < p.stored.progress.Frontier {
		c.wrong(RuleBack, "%v: the service keeps %d, and %d was stored", p.name, stored.Frontier, p.stored.progress.Frontier)
	}
	missing := 0
	for i, m := range p.messages {
		kept, settled := stored.Settled(m.Offset), o.views[i].covered
		if c.h.Withholds {
			settled = m.settled
		}
		switch {
		case kept && !settled:
			c.wrong(RuleFinal, "%v: the service keeps offset %d as settled, epoch %d has not settled it", p.name, m.Offset, o.id.epoch)
		case kept || !settled:
		case c.h.Withholds && o.lost && (m.acked == 0 || m.forgot != nil): // disconnected before it could acknowledge
		default:
			missing++
		}
	}
	if spare := o.stored.replays + o.spare; missing > spare {
		c.wrong(RuleFinal, "%v: the service does not keep %d settled messages (%d could not be expressed)", p.name, missing, spare)
	}
}
