package livetest

import (
	"slices"

	"github.com/keystrand/keystrand/source"
)

// Check reads a history from its first to its last event and reports each broken promise.
func Check(h *History) *Report {
	c := newChecker(h)
	for i := range h.Events {
		c.now = i + 1
		c.event(&h.Events[i])
	}
	c.end()
	return &c.Report
}

// checker walks through a history.
type checker struct {
	Report
	h       *History
	places  map[Place]*place
	running []turn
	members map[string]*member
	evicted map[source.ID]bool // lost somewhere in the history
	words   map[string]int     // number of the last event that each process wrote itself
	now     int                // number of the event
	endings []*Allowance       // of nodes, so far
	ending  bool               // the last one is not over
}

// member is a process.
type member struct{ dying, killed, pausedOnce bool }

func newChecker(h *History) *checker {
	c := &checker{
		h: h, Report: Report{Counts: map[Rule]int{}, Forgotten: map[string]int{}},
		places: map[Place]*place{}, members: map[string]*member{}, evicted: map[source.ID]bool{}, words: map[string]int{},
	}
	c.Figures.Messages = len(h.Produced)
	produced := map[Place][]Message{}
	for _, m := range h.Produced {
		produced[m.Place] = append(produced[m.Place], m)
	}
	for p, ms := range produced {
		c.places[p] = newPlace(p, ms)
	}
	killed := false
	for i := range h.Events {
		switch e := &h.Events[i]; e.Kind {
		case Dying, Paused, Continued:
		case Killed:
			killed = true
		case Lost:
			c.evicted[e.ID] = true
			fallthrough
		default:
			c.words[e.Member] = i + 1
		}
	}
	if h.Torn > 0 && !killed {
		c.wrong(RuleConserve, "%d lines are torn although no member was killed", h.Torn)
	}
	return c
}

func (c *checker) place(p Place) *place {
	if c.places[p] == nil {
		c.places[p] = newPlace(p, nil)
	}
	return c.places[p]
}

func (c *checker) event(e *Event) {
	m := c.members[e.Member]
	if m == nil {
		m = &member{}
		c.members[e.Member] = m
	}
	if m.killed && e.Kind != Killed {
		c.wrong(RuleMember, "%v: the process had been killed", e)
		return
	}
	c.happened(e, m)
	// A process dies behind its last word: others may own its partitions before the test writes that it is gone.
	if m.dying && c.now >= c.words[e.Member] {
		m.killed = true
	}
	if m.killed {
		c.close(func(t turn) bool { return t.owner.member == e.Member })
	}
}

// close ends turns and reports how many.
func (c *checker) close(which func(turn) bool) int {
	before := len(c.running)
	c.running = slices.DeleteFunc(c.running, which)
	return before - len(c.running)
}

func (c *checker) happened(e *Event, m *member) {
	switch e.Kind {
	case Begun:
	case Ended:
		if n := c.close(func(t turn) bool { return t.owner.member == e.Member }); n > 0 {
			c.wrong(RuleConserve, "%s has ended, and %d turns have not", e.Member, n)
		}
		if e.Text != "" {
			c.wrong(RuleMember, "Run of %s returned: %s", e.Member, e.Text)
		}
	case Broken:
		c.wrong(RuleConserve, "%s: %s", e.Member, e.Text)
	case Dying:
		m.dying = true
	case Killed:
		m.killed = true
	case Paused:
		m.pausedOnce = true
		for _, p := range c.places {
			for _, o := range p.owners {
				o.frozen = o.frozen || o.member == e.Member && !o.released
			}
		}
	case Continued:
	case Crashing, Stopping:
		c.ends(e.Kind)
	case Gone:
		c.ending = false
	case Accepted:
		c.accepted(e)
	default:
		o := c.place(placeOf(e.ID)).owners[e.Epoch]
		if o == nil || o.member != e.Member {
			c.wrong(RuleHistory, "%v: it does not own this", e)
			return
		}
		c.owned(e, o)
	}
}

// owned is an event of a partition that the member has accepted.
func (c *checker) owned(e *Event, o *owner) {
	switch e.Kind {
	case Asked:
	case Lost:
		if !o.lost {
			c.Figures.Losses++
		}
		o.lost = true
		if c.h.Orderly {
			c.wrong(RuleOwner, "%v: lost although all hand-overs are orderly", e)
		}
	case Released:
		o.released = true
		if !o.lost && slices.ContainsFunc(c.running, func(t turn) bool { return t.owner == o }) {
			c.wrong(RuleFence, "%v: released with turns under way", e)
		}
	case Trying:
		c.trying(e, o)
	case Stored:
		c.stored(e, o)
	case Lettered:
		if !c.h.Letters {
			c.wrong(RuleLetter, "%v: a dead letter: %s", e, e.Text)
		}
		fallthrough
	case Started, Finished, Written:
		i := o.place.from(e.Offset)
		switch {
		case i == len(o.place.messages) || o.place.messages[i].Offset != e.Offset:
			c.wrong(RuleForeign, "%v: nobody produced it for a reader", e)
		case e.Kind == Started:
			c.started(e, o, i)
		case e.Kind == Finished:
			c.finished(e, o, i)
		case e.Kind == Written:
			c.written(e, o, i)
		default:
			o.settle(i, c.now)
		}
	default:
		c.wrong(RuleHistory, "%v: unknown", e)
	}
}

// current reports whether the owner is the newest one, and if not, whether it could not know: it was frozen, or the
// service disconnected it.
func (c *checker) current(o *owner) (current, excused bool) {
	return o.place.newest == o, o.frozen || c.evicted[o.id]
}

// end checks the state after the last event.
func (c *checker) end() {
	if c.h.Unfinished {
		return
	}
	for _, t := range c.running {
		c.wrong(RuleConserve, "%s is gone without a trace, with a turn of %v under way", t.owner.member, t.owner.id)
	}
	for _, p := range c.places {
		latest := map[string]*message{} // of each key: the message settled last, so far
		for i := range p.messages {
			m := &p.messages[i]
			switch l := latest[m.Key]; {
			case c.h.Stuck != "" && m.Key == c.h.Stuck:
			case !m.settled:
				c.wrong(RuleLost, "%+v was never settled", m.Message)
			case m.last == 0: // a sink that looks at epochs has refused it
				c.wrong(RuleLost, "%+v was settled only by an owner that was not the newest", m.Message)
			case l != nil && m.last < l.last:
				c.wrong(RuleOrder, "%+v was settled again after the last time of %+v, which follows it", l.Message, m.Message)
			default:
				latest[m.Key] = m
			}
		}
	}
	for p, stored := range c.h.Committed {
		c.final(c.place(p), stored)
	}
}
