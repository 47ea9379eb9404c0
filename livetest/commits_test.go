package livetest

import (
	"cmp"

	"github.com/keystrand/keystrand/commit"
)

// accepted is a new ownership. The earlier one must be over, and the restored progress must be one that was committed.
func (c *checker) accepted(e *Event, m *member) {
	p := c.places[e.Place]
	old := p.newest
	if old != nil && e.Epoch < old.epoch && m.pausedBefore && p.owners[e.Epoch] == nil {
		// The process was frozen before it heard of this ownership. Others have owned the partition since.
		c.newOwner(e, p, m).frozen = true
		return
	}
	if old == nil && c.Late && p.from(e.Progress.Frontier) == p.from(0) { // messages without an offset have one below 0
		p.tries[0].Frontier = e.Progress.Frontier
	}
	c.wrongIf(!p.tried(e.Progress), RuleProgress,
		"%v: frontier %d with %d ranges ahead is no commit of anyone", e, e.Progress.Frontier, len(e.Progress.Ahead))
	c.wrongIf(!c.Withholds && e.Progress.Frontier < p.frontier, RuleBack,
		"%v: begins at %d, and %d was stored", e, e.Progress.Frontier, p.frontier)
	if old != nil && e.Epoch <= old.epoch {
		c.wrong(RuleEpoch, "%v: epoch %d came before", e, old.epoch)
		if p.owners[e.Epoch] != nil {
			return
		}
	}
	o := c.newOwner(e, p, m)
	p.newest = o
	if old != nil {
		c.Figures.HandOvers++
		c.wrongIf(!old.released && (old.member == m || !old.frozen && !old.evicted && !old.member.killed), RuleOwner,
			"%v: %s has not released epoch %d", e, old.member.name, old.epoch)
	}
	if !c.Diverts {
		c.acts(e, o)
	}
}

func (c *checker) newOwner(e *Event, p *place, m *member) *owner {
	o := &owner{
		place: p, epoch: e.Epoch, member: m, views: make([]view, len(p.messages)),
		accepted: try{Progress: e.Progress, number: c.now}, evicted: c.evicted[e.id()], endings: c.endings,
		restored: map[string]restored{}, storing: map[int]int{},
	}
	if c.ending {
		o.endings--
	}
	for i, m := range p.messages {
		settled := e.Progress.Settled(m.Offset)
		o.views[i] = view{covered: settled, claimed: settled, known: m.settled}
	}
	o.try, o.stored = &o.accepted, &o.accepted
	p.owners[e.Epoch] = o
	return o
}

// acts records that the owner takes over from the one before.
func (c *checker) acts(e *Event, o *owner) {
	old := o.acting
	if o.acting = o; old != nil {
		c.succeeds(e, old, o)
	}
}

// succeeds marks the messages that the service, or the store, may deliver again to a new owner: no stored commit, or mark, claims
// them, or [History].Forgets permits the service to forget it. An owner that released the place in order has committed all that
// it settled.
func (c *checker) succeeds(e *Event, old, o *owner) {
	late := 0 // settled before the last commit that was stored, and not in it
	for i := range o.views {
		m, v, was := o.messages[i], &o.views[i], old.views[i]
		unacked := m.acked == 0 && !(old.inOrder() && was.covered && !(m.kept && old.unsaved > 0))
		v.may = v.known && (unacked || m.forgot)
		noted := old.stored.number
		if m.kept {
			noted = old.unmarked(m.Key)
		}
		if m.acked == 0 && was.covered && old.accepted.number < m.last && m.last < noted {
			late++
		}
	}
	o.spare = old.stored.replays + old.spare
	// So many the pipeline may have settled without having noted it at a commit.
	unnoted := c.Workers
	if c.Outputs {
		unnoted = c.Writers * old.largest
	}
	// A service that withholds reconnects often, and then commits lag by a turn more.
	c.wrongIf(late > unnoted && !c.Withholds, RuleReplay,
		"%v: the last commit of epoch %d left %d settled messages out, at most %d may be", e, old.epoch, late, unnoted)
}

// again is a settled message that the newest owner gets again.
func (c *checker) again(e *Event, o *owner, i int) {
	c.Figures.Again++
	m, v := &o.messages[i], o.views[i]
	if m.acked != 0 && m.forgot {
		c.Figures.Forgotten++
	}
	m.acked, m.forgot = 0, false // it is not acknowledged, or would not have come
	if !m.kept {
		m.committed = 0
	}
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
	c.wrongIf(o.released, RuleStale, "%v: a commit after release", e)
	c.wrongIf(e.Progress.Frontier < o.try.Frontier, RuleBack,
		"%v: frontier %d, and %d was tried before", e, e.Progress.Frontier, o.try.Frontier)
	for i := o.from(o.try.Frontier); i < len(o.messages); i++ {
		v, offset := o.views[i], o.messages[i].Offset
		if e.Progress.Settled(offset) && !v.claimed && (v.tried || !c.passed(o, i)) {
			c.wrong(RuleProgress, "%v: claims offset %d (frontier %d), which is not settled", e, offset, e.Progress.Frontier)
		}
	}
	o.try = &try{Progress: e.Progress, number: c.now}
	o.tries = append(o.tries, e.Progress)
}

// stored is the answer to the last try. It can reach a frozen or disconnected process after another one has become owner, if
// the try came before that. While a node ends, the service may forget the commit.
func (c *checker) stored(e *Event, o *owner) {
	c.Figures.Commits++
	t := o.try
	if t == &o.accepted {
		c.wrong(RuleHistory, "%v: nothing was tried", e)
		return
	}
	// A service that withholds has no epochs and cannot refuse. A late acknowledgement of an old owner settles all the same.
	now, excused := o.current()
	c.wrongIf(!now && (!excused || !c.Withholds && t.number > o.newest.accepted.number), RuleStale,
		"%v: stored, and epoch %d owns it", e, o.newest.epoch)
	t.replays, o.stored = e.Count, t
	// A process that the end of a node disconnects may write later that a commit was stored before.
	forgot := c.ending || o.evicted && o.endings < c.endings
	for i := range o.messages {
		m := &o.messages[i]
		if !t.Settled(m.Offset) {
			continue
		}
		m.committed = cmp.Or(m.committed, e.At)
		if m.acked == 0 && !m.kept {
			m.acked, m.forgot = e.At, forgot
		}
	}
	o.confirmed, o.frontier = e.At, max(o.frontier, t.Frontier)
}

// ends records that a node ends.
func (c *checker) ends(how Kind) {
	newest, may := c.Forgets[how]
	if !may {
		return
	}
	c.ending = true
	c.endings++
	for _, p := range c.places {
		for i := range p.messages {
			// The service stores confirmed progress only from time to time, so the newest confirmation that it forgets may be old.
			m := &p.messages[i]
			m.forgot = m.forgot || m.acked != 0 && m.acked > p.confirmed-int64(newest)
		}
	}
}

// final compares the progress that the service keeps with what was settled.
func (c *checker) final(p *place, stored commit.Progress) {
	o := p.newest
	if o == nil {
		c.wrongIf(len(p.messages) > 0, RuleFinal, "%v: nobody has owned it", p.Place)
		return
	}
	c.wrongIf(!c.Withholds && stored.Frontier < p.frontier, RuleBack,
		"%v: the service keeps %d, and %d was stored", p.Place, stored.Frontier, p.frontier)
	missing := 0
	for _, m := range p.messages {
		switch kept := stored.Settled(m.Offset); {
		case kept && !m.settled && !m.kept:
			c.wrong(RuleFinal, "%v: the service keeps offset %d as settled, and nobody has settled it", p.Place, m.Offset)
		case kept || !m.settled:
		case c.Withholds && o.lost && (m.acked == 0 || m.forgot): // disconnected before it could acknowledge
		default:
			missing++
		}
	}
	if spare := o.stored.replays + o.spare; missing > spare {
		c.wrong(RuleFinal, "%v: the service does not keep %d settled messages (%d could not be expressed)", p.Place, missing, spare)
	}
}
