package livetest

import (
	"slices"

	"github.com/keystrand/keystrand/commit"
)

// accepted is a new ownership. The earlier one must be over, and the restored progress must be one that was committed.
func (c *checker) accepted(e *Event) {
	p := c.place(placeOf(e.ID))
	old := p.newest
	if old != nil && e.Epoch < old.id.Epoch && c.members[e.Member].pausedOnce && p.owners[e.Epoch] == nil {
		// The process was frozen before it heard of this ownership. Others have owned the partition since.
		c.newOwner(e, p).frozen = true
		return
	}
	if old != nil {
		c.Figures.HandOvers++
		if e.Epoch <= old.id.Epoch {
			c.wrong(RuleEpoch, "%v: epoch %d came before", e, old.id.Epoch)
			if p.owners[e.Epoch] != nil {
				return
			}
		}
		_, excused := c.current(old)
		if own := old.member == e.Member; !old.released && (own || !excused && !c.members[old.member].killed) {
			c.wrong(RuleOwner, "%v: %s has not released epoch %d", e, old.member, old.id.Epoch)
		}
		if !c.h.Withholds && e.Progress.Frontier < p.frontier {
			c.wrong(RuleBack, "%v: begins at %d, and %d was stored", e, e.Progress.Frontier, p.frontier)
		} else if !c.h.Withholds && !p.tried(e.Progress) {
			c.wrong(RuleProgress, "%v: frontier %d with %d ranges ahead is no commit of anyone", e, e.Progress.Frontier, len(e.Progress.Ahead))
		}
	}
	o := c.newOwner(e, p)
	if p.newest = o; old != nil {
		c.succeeds(e, old, o)
	}
}

func (c *checker) newOwner(e *Event, p *place) *owner {
	o := &owner{
		id: e.ID, place: p, member: e.Member, views: make([]view, len(p.messages)),
		accepted: try{number: c.now, progress: e.Progress}, checked: p.from(e.Progress.Frontier), endings: len(c.endings),
	}
	if c.ending {
		o.endings--
	}
	for i := range o.views {
		m, v := &p.messages[i], &o.views[i]
		v.covered, v.known = e.Progress.Settled(m.Offset), m.settled
		if v.covered && !(m.settled && m.claimed) {
			c.wrong(RuleProgress, "%v: restored as settled, and nobody has committed it: offset %d", e, m.Offset)
		}
	}
	o.try, o.stored = &o.accepted, &o.accepted
	p.owners[e.Epoch], p.tries = o, append(p.tries, e.Progress)
	return o
}

// succeeds marks the messages that the service may deliver again to a new owner: no stored commit claims them, or an
// [Allowance] permits the service to forget it. An owner that released the place in order has committed all that it settled.
func (c *checker) succeeds(e *Event, old, o *owner) {
	late := 0 // settled before the last commit that was stored, and not in it
	for i := range o.views {
		m, v, was := &o.place.messages[i], &o.views[i], old.views[i]
		unacked := m.acked == 0 && !(old.inOrder() && was.covered)
		v.may = v.known && (unacked || m.forgot != nil)
		if m.acked == 0 && was.covered && old.accepted.number < m.last && m.last < old.stored.number {
			late++
		}
	}
	o.spare = old.stored.replays + old.spare
	// So many the pipeline may have settled without having noted it at a commit.
	unnoted := c.h.Workers
	if c.h.Outputs {
		unnoted = c.h.Writers * old.largest
	}
	if late > unnoted && !c.h.Withholds { // such a service reconnects often, and then commits lag by a turn more
		c.wrong(RuleReplay, "%v: the last commit of epoch %d left %d settled messages out, at most %d may be", e, old.id.Epoch, late, unnoted)
	}
}

// again is a settled message that the newest owner gets again.
func (c *checker) again(e *Event, o *owner, i int) {
	c.Figures.Again++
	m, v := &o.place.messages[i], o.views[i]
	if m.acked != 0 && m.forgot != nil {
		c.Forgotten[m.forgot.Reason]++
	}
	m.acked, m.forgot = 0, nil // it is not acknowledged, or would not have come
	switch {
	case !v.known || v.may:
	case o.spare == 0:
		c.wrong(RuleReplay, "%v: it was settled and committed, or had to be, and is delivered again", e)
	default:
		o.spare--
	}
}

// trying checks a commit that begins: it must contain only settled messages, and must not go back.
func (c *checker) trying(e *Event, o *owner) {
	p := o.place
	if o.released {
		c.wrong(RuleStale, "%v: a commit after release", e)
	}
	if e.Progress.Frontier < o.try.progress.Frontier {
		c.wrong(RuleBack, "%v: frontier %d, and %d was tried before", e, e.Progress.Frontier, o.try.progress.Frontier)
	}
	claims := func(i int) {
		p.messages[i].claimed = true
		if v := o.views[i]; !v.covered && (v.tried || !c.passed(o, i)) {
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
	o.try = &try{number: c.now, progress: e.Progress}
	p.tries = append(p.tries, e.Progress)
}

// stored is the answer to the last try. It can reach a frozen or disconnected process after another one has become owner, if
// the try came before that. While a node ends, the service may forget the commit.
func (c *checker) stored(e *Event, o *owner) {
	c.Figures.Commits++
	p, t := o.place, o.try
	if t == &o.accepted {
		c.wrong(RuleHistory, "%v: nothing was tried", e)
		return
	}
	// A service that withholds has no epochs and cannot refuse. A late acknowledgement of an old owner settles all the same.
	now, excused := c.current(o)
	if !now && (!excused || !c.h.Withholds && t.number > p.newest.accepted.number) {
		c.wrong(RuleStale, "%v: stored, and epoch %d owns it", e, p.newest.id.Epoch)
	}
	t.replays = int(e.Number)
	o.stored = t
	// A process that the end of a node disconnects may write later that a commit was stored before.
	var forgot *Allowance
	if c.ending || c.evicted[o.id] && o.endings < len(c.endings) {
		forgot = c.endings[len(c.endings)-1]
	}
	for i := range p.messages {
		if m := &p.messages[i]; m.acked == 0 && t.progress.Settled(m.Offset) {
			m.acked, m.forgot = e.At, forgot
		}
	}
	p.confirmed, p.frontier = e.At, max(p.frontier, t.progress.Frontier)
}

// ends records that a node ends.
func (c *checker) ends(how Kind) {
	i := slices.IndexFunc(c.h.Forgets, func(a Allowance) bool { return a.When == how })
	if i < 0 {
		return
	}
	a := &c.h.Forgets[i]
	c.ending, c.endings = true, append(c.endings, a)
	for _, p := range c.places {
		for i := range p.messages {
			// The service stores confirmed progress only from time to time, so the newest confirmation that it forgets may be old.
			if m := &p.messages[i]; m.acked > p.confirmed-int64(a.Newest) && m.acked != 0 {
				m.forgot = a
			}
		}
	}
}

// final compares the progress that the service keeps with what was settled.
func (c *checker) final(p *place, stored commit.Progress) {
	o := p.newest
	if o == nil {
		if len(p.messages) > 0 {
			c.wrong(RuleFinal, "%v: nobody has owned it", p.name)
		}
		return
	}
	if !c.h.Withholds && stored.Frontier < p.frontier {
		c.wrong(RuleBack, "%v: the service keeps %d, and %d was stored", p.name, stored.Frontier, p.frontier)
	}
	missing := 0
	for _, m := range p.messages {
		switch kept := stored.Settled(m.Offset); {
		case kept && !m.settled:
			c.wrong(RuleFinal, "%v: the service keeps offset %d as settled, and nobody has settled it", p.name, m.Offset)
		case kept || !m.settled:
		case c.h.Withholds && o.lost && (m.acked == 0 || m.forgot != nil): // disconnected before it could acknowledge
		default:
			missing++
		}
	}
	if spare := o.stored.replays + o.spare; missing > spare {
		c.wrong(RuleFinal, "%v: the service does not keep %d settled messages (%d could not be expressed)", p.name, missing, spare)
	}
}
