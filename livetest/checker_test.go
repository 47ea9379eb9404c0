package livetest

import (
	"slices"

	"github.com/keystrand/keystrand/source"
)

// check reads a history from its first to its last event and reports each broken promise.
func check(h *History) *Report {
	c := newChecker(h)
	for i := range h.Events {
		c.now = i + 1
		c.event(&h.Events[i])
	}
	if !h.Unfinished {
		c.end()
	}
	return &c.Report
}

// checker walks through a history.
type checker struct {
	Report
	*History
	places  map[Place]*place
	running []turn
	members map[string]*member
	evicted map[source.ID]bool // lost somewhere in the history
	now     int                // number of the event
	endings int                // of nodes that may forget, so far
	ending  bool               // the last one is not over
	kills   bool               // a member was killed, or is about to be
}

// member is a process.
type member struct {
	name                        string
	word                        int // number of the last event that it wrote itself
	dying, killed, pausedBefore bool
}

func newChecker(h *History) *checker {
	c := &checker{
		Report: Report{Broken: map[Rule][]string{}}, History: h,
		places: map[Place]*place{}, members: map[string]*member{}, evicted: map[source.ID]bool{},
	}
	c.Figures.Messages = len(h.Produced)
	produced := map[Place][]Message{}
	for _, m := range h.Produced {
		produced[m.Place] = append(produced[m.Place], m)
	}
	for p, ms := range produced {
		c.places[p] = newPlace(p, ms)
	}
	for i := range h.Events {
		e := &h.Events[i]
		if c.places[e.Place] == nil {
			c.places[e.Place] = newPlace(e.Place, nil)
		}
		if c.members[e.Member] == nil {
			c.members[e.Member] = &member{name: e.Member}
		}
		if e.Kind != Dying && e.Kind != Killed && e.Kind != Paused && e.Kind != Continued {
			c.members[e.Member].word = i + 1
		}
		if e.Kind == Lost {
			c.evicted[e.id()] = true
		}
	}
	return c
}

func (c *checker) event(e *Event) {
	m := c.members[e.Member]
	if m.killed && e.Kind != Killed {
		c.wrong(RuleMember, "%v: the process had been killed", e)
		return
	}
	c.happened(e, m)
	// A process dies behind its last word: others may own its partitions before the test writes that it is gone.
	if m.killed = m.killed || m.dying && c.now >= m.word; m.killed {
		c.close(func(t turn) bool { return t.member == m })
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
	case Begun, Continued:
	case Ended:
		n := c.close(func(t turn) bool { return t.member == m })
		c.wrongIf(n > 0, RuleConserve, "%s has ended, and %d turns have not", m.name, n)
		c.wrongIf(e.Text != "", RuleMember, "Run of %s returned: %s", m.name, e.Text)
	case Broken:
		c.wrong(RuleConserve, "%s: %s", m.name, e.Text)
	case Torn:
		c.wrongIf(!c.kills, RuleConserve, "line %d is torn although no member was killed", c.now)
	case Dying:
		m.dying, c.kills = true, true
	case Killed:
		m.killed, c.kills = true, true
	case Paused:
		m.pausedBefore = true
		for _, p := range c.places {
			for _, o := range p.owners {
				o.frozen = o.frozen || o.member == m && !o.released
			}
		}
	case Crashing, Stopping:
		c.ends(e.Kind)
	case Gone:
		c.ending = false
	case Accepted:
		c.accepted(e, m)
	default:
		if o := c.places[e.Place].owners[e.Epoch]; o == nil || o.member != m {
			c.wrong(RuleHistory, "%v: it does not own this", e)
		} else {
			c.owned(e, o)
		}
	}
}

// owned is an event of a partition that the member has accepted.
func (c *checker) owned(e *Event, o *owner) {
	switch e.Kind {
	case Lost:
		if !o.lost {
			c.Figures.Losses++
		}
		o.lost = true
		c.wrongIf(c.Orderly, RuleOwner, "%v: lost although all hand-overs are orderly", e)
	case Released:
		o.released = true
		c.wrongIf(!o.lost && slices.ContainsFunc(c.running, func(t turn) bool { return t.owner == o }), RuleFence,
			"%v: released with turns under way", e)
	case Trying:
		c.trying(e, o)
	case Stored:
		c.stored(e, o)
	case Restored:
		c.restores(e, o)
	case Opened:
		c.opened(e, o)
	case Storing:
		o.storing[e.Count] = c.now
	case Marking:
		c.marking(e, o)
	case Marked:
		c.marked(e, o)
	case Started, Finished, Written, Lettered, Kept:
		i := o.from(e.Offset)
		found := i < len(o.messages) && o.messages[i].Offset == e.Offset
		c.wrongIf(!found || o.messages[i].Message != e.Message, RuleForeign,
			"%v: number %d: nobody produced it for a reader", e, e.Number)
		switch {
		case !found:
		case e.Kind == Started:
			c.started(e, o, i)
		case e.Kind == Finished:
			c.finished(e, o, i)
		case e.Kind == Written:
			c.written(e, o, i)
		case e.Kind == Kept:
			c.kept(e, o, i)
		case !c.Letters:
			c.wrong(RuleLetter, "%v: a dead letter: %s", e, e.Text)
			fallthrough
		default:
			o.settle(i, c.now)
		}
	default:
		c.wrong(RuleHistory, "%v: unknown", e)
	}
}

// end checks the state after the last event.
func (c *checker) end() {
	for _, t := range c.running {
		c.wrong(RuleConserve, "%s is gone without a trace, with a turn of %v epoch %d under way", t.member.name, t.Place, t.epoch)
	}
	for _, p := range c.places {
		latest := map[string]*message{} // of each key: the message settled last, so far
		for i := range p.messages {
			m := &p.messages[i]
			switch l := latest[m.Key]; {
			case c.Stuck != "" && m.Key == c.Stuck:
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
		if c.Committed != nil {
			c.final(p, c.Committed[p.Place])
		}
	}
}
