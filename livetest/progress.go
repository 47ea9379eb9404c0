package livetest

import "slices"

// accepted is a new ownership: the earlier one must be over, and what was restored must be what it left.
func (c *checker) accepted(e *Event) {
	p := c.place(Place{e.Stream, e.Partition})
	old := p.newest
	if old != nil && e.Epoch < old.id.epoch && c.members[e.Member].pausedOnce && p.owners[e.Epoch] == nil {
		c.acceptedLate(e, p)
		return
	}
	if old != nil {
		c.report.Figures.HandOvers++
		if e.Epoch <= old.id.epoch {
			c.wrong(RuleEpoch, "%v: epoch %d came before", e, old.id.epoch)
			if p.owners[e.Epoch] != nil {
				return
			}
		}
		c.succeeds(e, old)
	}
	o := &owner{
		id: idOf(e), place: p, member: e.Member, open: map[int]*turn{},
		covered: make([]bool, len(p.messages)), tried: make([]bool, len(p.messages)), handled: make([]bool, len(p.messages)),
	}
	if !c.h.Withholds {
		c.restored(e, p)
	}
	o.cover(e.Progress)
	for i, covered := range o.covered {
		switch {
		case covered && !p.settled[i]:
			c.wrong(RuleProgress, "%v: restored as settled, and nobody has: offset %d", e, p.messages[i].Offset)
		case !covered && p.settled[i]:
			o.outstanding++
		}
	}
	switch {
	case c.h.Withholds:
		c.begins(old, o)
	case old != nil:
		c.replays(e, old, o)
	}
	o.checked = p.from(e.Progress.Frontier)
	o.restored = o.tries(e.Progress)
	o.try, o.stored = o.restored, o.restored
	if o.endings = c.endings; c.ending {
		o.endings--
	}
	p.owners[e.Epoch], p.newest = o, o
}

// acceptedLate is an ownership that began before its process was frozen, and that it hears of when it wakes up: others may
// have owned the partition since. It is an owner that does not know yet.
func (c *checker) acceptedLate(e *Event, p *place) {
	o := &owner{
		id: idOf(e), place: p, member: e.Member, open: map[int]*turn{}, frozen: true,
		covered: make([]bool, len(p.messages)), tried: make([]bool, len(p.messages)), handled: make([]bool, len(p.messages)),
	}
	o.cover(e.Progress)
	if c.h.Withholds {
		o.known, o.may = slices.Clone(p.settled), make([]bool, len(p.messages))
	}
	o.checked = p.from(e.Progress.Frontier)
	o.restored = o.tries(e.Progress)
	o.try, o.stored = o.restored, o.restored
	p.owners[e.Epoch] = o
}

// succeeds looks whether the earlier owner has let go.
func (c *checker) succeeds(e *Event, old *owner) {
	m := c.members[old.member]
	switch {
	case old.released:
	case old.member == e.Member:
		c.wrong(RuleOwner, "%v: this process has not released epoch %d", e, old.id.epoch)
	case m.killed, old.frozen, c.evicted[old.id]:
	default:
		c.wrong(RuleOwner, "%v: %s has not released epoch %d", e, old.member, old.id.epoch)
	}
}

// restored looks whether what a new owner was told is one of the commits that were tried, and no older than the last one
// known to be stored. A store may have cut ranges.
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
		if t.progress.Frontier == e.Progress.Frontier && within(e.Progress.Ahead, t.progress.Ahead) {
			return
		}
	}
	c.wrong(RuleProgress, "%v: frontier %d with %d ranges ahead is no commit of anybody", e, e.Progress.Frontier, len(e.Progress.Ahead))
}

// cover marks what progress says is settled.
func (o *owner) cover(progress Progress) {
	for i := range o.place.from(progress.Frontier) {
		o.covered[i] = true
	}
	for _, r := range progress.Ahead {
		for i := o.place.from(r.From); i < o.place.from(r.To); i++ {
			o.covered[i] = true
		}
	}
}

// replays holds a hand-over to its bound: what was settled since the last commit that is known to be stored, and what that
// one could not express. An owner that gave the partition back in order has committed all.
func (c *checker) replays(e *Event, old, o *owner) {
	last, why := old.stored, "was cut off"
	bound := last.outstanding + last.replays + old.late - last.late + old.count - last.count + c.unnoted(old)
	if old.inOrder() {
		bound, why = last.outstanding+last.replays+old.late-last.late, "gave it back in order"
	}
	c.report.Figures.Bound += bound
	if o.outstanding > bound {
		c.wrong(RuleReplay, "%v: %d messages are settled and handed out again, at most %d may be: epoch %d %s",
			e, o.outstanding, bound, old.id.epoch, why)
	}
}

// unnoted is how many messages the owner may have settled that its pipeline had not noted when it took the last commit.
func (c *checker) unnoted(o *owner) int {
	if c.h.Outputs {
		return c.h.Writers * o.largest
	}
	return c.h.Workers
}

// inOrder tells whether the owner gave the place back, and its last commit was stored.
func (o *owner) inOrder() bool { return o.released && !o.lost && !o.frozen && o.stored == o.try }

// trying is a commit on its way: all it claims must be settled, and it must not go back.
func (c *checker) trying(e *Event, o *owner) {
	p := o.place
	if o.released {
		c.wrong(RuleStale, "%v: a commit after release", e)
	}
	if e.Progress.Frontier < o.try.progress.Frontier {
		c.wrong(RuleBack, "%v: frontier %d, and %d was tried before", e, e.Progress.Frontier, o.try.progress.Frontier)
	}
	for upTo := p.from(e.Progress.Frontier); o.checked < upTo; o.checked++ {
		c.claims(e, o, o.checked)
	}
	for _, r := range e.Progress.Ahead {
		for i := p.from(r.From); i < len(p.messages) && p.messages[i].Offset < r.To; i++ {
			c.claims(e, o, i)
		}
	}
	o.try = o.tries(e.Progress)
}

func (c *checker) claims(e *Event, o *owner, i int) {
	if !o.covered[i] && (o.tried[i] || !o.withheld(i)) {
		c.wrong(RuleProgress, "%v: claims offset %d (frontier %d), which is not settled", e, o.place.messages[i].Offset, e.Progress.Frontier)
	}
}

// stored is the answer to the last try. It can reach a process that was frozen, or cut off, when another one owns the
// partition already; but then it was tried before that one began.
func (c *checker) stored(e *Event, o *owner) {
	c.report.Figures.Committed++
	p, t := o.place, o.try
	if t == o.restored {
		c.wrong(ruleNoMessage, "%v: nothing was tried", e)
		return
	}
	now, excused := c.current(o)
	// A service without epochs cannot refuse. What an old owner acknowledges late is settled all the same.
	fenced := !c.h.Withholds
	if !now && (!excused || fenced && t.number > p.newest.restored.number) {
		c.wrong(RuleStale, "%v: stored, and epoch %d owns it", e, p.newest.id.epoch)
	}
	t.replays = int(e.Number)
	o.stored = t
	// What an owner whom the end of a node has cut off writes after it, it was told before it, or meanwhile.
	p.confirm(t.progress, e.At, c.ending || c.evicted[o.id] && o.endings < c.endings)
	if p.stored == nil || p.stored.number < t.number {
		p.stored = t
	}
}

// final compares what the service keeps with what the last owner has settled.
func (c *checker) final(p *place, stored Progress) {
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
	kept := &owner{place: p, covered: make([]bool, len(p.messages))}
	kept.cover(stored)
	missing := 0
	settled, spare := o.covered, o.stored.replays
	if c.h.Withholds {
		settled, spare = p.settled, spare+o.spare-o.spent
	}
	for i := range p.messages {
		switch {
		case kept.covered[i] && !settled[i]:
			c.wrong(RuleFinal, "%v: the service says that offset %d is settled, epoch %d has not", p.name, p.messages[i].Offset, o.id.epoch)
		case kept.covered[i] || !settled[i]:
		case c.h.Withholds && o.lost && (p.acked[i] == 0 || p.forgot[i]):
			// The last owner was cut off before it could acknowledge that, and nobody has come after it: the next one will get it.
		default:
			missing++
		}
	}
	if missing > spare {
		c.wrong(RuleFinal, "%v: %d settled messages are not in what the service keeps (%d could not be expressed)", p.name, missing, spare)
	}
}
