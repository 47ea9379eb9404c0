package livetest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Check reads a history from its first to its last event and tells what breaks a promise.
func Check(h *History) *Report {
	c := newChecker(h)
	for i := range h.Events {
		c.now = i + 1
		c.event(&h.Events[i])
	}
	c.end()
	return c.report
}

// checker walks through a history.
type checker struct {
	h       *History
	report  *Report
	places  map[Place]*place
	members map[string]*member
	evicted map[ownerID]bool // ownerships that are lost somewhere in the history
	words   map[string]int   // numbers of the last events that processes have written themselves
	first   int64            // time of the first and the last event
	last    int64
	now     int  // number of the event
	ending  bool // a node of the service is being killed or stopped
	endings int
}

type ownerID struct {
	Place
	epoch int64
}

// member is a process.
type member struct {
	dying, killed bool
	paused, ended bool
	pausedOnce    bool
	open          map[turnID]*turn
}

func newChecker(h *History) *checker {
	c := &checker{
		h:       h,
		report:  &Report{Counts: map[Rule]int{}},
		places:  map[Place]*place{},
		members: map[string]*member{},
		evicted: map[ownerID]bool{},
		words:   map[string]int{},
	}
	c.report.Figures.Messages = len(h.Produced)
	for _, m := range h.Produced {
		c.place(m.Place).add(m)
	}
	for _, p := range c.places {
		p.index()
	}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind == Lost {
			c.evicted[idOf(e)] = true
		}
		if !strings.ContainsRune(byTest, rune(e.Kind)) {
			c.words[e.Member] = i + 1
		}
	}
	if h.Torn > 0 && !slices.ContainsFunc(h.Events, func(e Event) bool { return e.Kind == Killed }) {
		c.wrong(RuleConserve, "%d lines are torn although nobody was killed", h.Torn)
	}
	return c
}

func (c *checker) place(p Place) *place {
	found := c.places[p]
	if found == nil {
		found = newPlace(p)
		c.places[p] = found
	}
	return found
}

func (c *checker) member(name string) *member {
	m := c.members[name]
	if m == nil {
		m = &member{open: map[turnID]*turn{}}
		c.members[name] = m
	}
	return m
}

func (c *checker) wrong(r Rule, format string, args ...any) {
	if c.report.Counts[r]++; c.report.Counts[r] <= mostTold {
		c.report.Violations = append(c.report.Violations, Violation{r, fmt.Sprintf(format, args...)})
	}
}

func idOf(e *Event) ownerID { return ownerID{Place{e.Stream, e.Partition}, e.Epoch} }

func (e *Event) String() string {
	return fmt.Sprintf("%s %c %s/%d#%d@%d key %s", e.Member, e.Kind, e.Stream, e.Partition, e.Epoch, e.Offset, e.Key)
}

func (c *checker) event(e *Event) {
	if c.first == 0 {
		c.first = e.At
	}
	c.last = max(c.last, e.At)
	m := c.member(e.Member)
	if m.killed && e.Kind != Killed {
		c.wrong(RuleMember, "%v: the process had been killed", e)
		return
	}
	c.happened(e, m)
	if m.dying && !m.killed && c.now >= c.words[e.Member] {
		c.die(m)
	}
}

// die ends a process behind its last word: the line that says that it is gone is written some time after that, and
// others may own what it had before.
func (c *checker) die(m *member) {
	m.killed = true
	for _, t := range m.open {
		c.close(t)
	}
	clear(m.open)
}

func (c *checker) happened(e *Event, m *member) {
	switch e.Kind {
	case Begun:
	case Ended:
		m.ended = true
		for id := range m.open {
			c.wrong(RuleConserve, "%s has ended and a turn of %v at %d has not", e.Member, id.ownerID, id.offset)
		}
		if e.Text != "" && !c.h.MayFail {
			c.wrong(RuleMember, "Run of %s returned: %s", e.Member, e.Text)
		}
	case Broken:
		c.wrong(RuleConserve, "%s: %s", e.Member, e.Text)
	case Dying:
		m.dying = true
	case Killed:
		c.die(m)
	case Paused:
		m.paused, m.pausedOnce = true, true
		for _, p := range c.places {
			for _, o := range p.owners {
				o.frozen = o.frozen || o.member == e.Member && !o.released
			}
		}
	case Continued:
		m.paused = false
	case Crashing:
		c.ends(c.h.Forgets)
	case Stopping:
		c.ends(c.h.ForgetsInOrder)
	case Gone:
		c.ending = false
	case Accepted:
		c.accepted(e)
	default:
		o := c.place(Place{e.Stream, e.Partition}).owners[e.Epoch]
		if o == nil || o.member != e.Member {
			c.wrong(ruleNoMessage, "%v: it does not own this", e)
			return
		}
		c.owned(e, m, o)
	}
}

// ends notes that a node of the service ends, and may forget what it has confirmed lately.
func (c *checker) ends(newest time.Duration) {
	c.ending = true
	c.endings++
	for _, p := range c.places {
		p.forget(newest)
	}
}

// owned is an event of a partition that the member has accepted.
func (c *checker) owned(e *Event, m *member, o *owner) {
	switch e.Kind {
	case Asked:
	case Lost:
		if !o.lost {
			c.report.Figures.Losses++
		}
		o.lost = true
		if c.h.Orderly {
			c.wrong(RuleOwner, "%v: lost although all hand-overs are orderly", e)
		}
	case Released:
		o.released = true
		if len(o.open) > 0 && !o.lost {
			c.wrong(RuleFence, "%v: released with %d turns under way", e, len(o.open))
		}
	case Trying:
		c.trying(e, o)
	case Stored:
		c.stored(e, o)
	case Started:
		c.started(e, m, o)
	case Finished:
		c.finished(e, m, o)
	case Written:
		c.written(e, o)
	case Lettered:
		if !c.h.DeadLetters {
			c.wrong(RuleLetter, "%v: a dead letter: %s", e, e.Text)
		}
		if i, known := o.place.at[e.Offset]; known {
			o.settle(i)
			o.place.last[i] = c.now
		}
	default:
		c.wrong(ruleNoMessage, "%v: unknown", e)
	}
}

// current tells whether no newer owner has accepted the partition, and if one has, whether this one could not know: it
// was frozen, or the service cut it off.
func (c *checker) current(o *owner) (current, excused bool) {
	return o.place.newest == o, o.frozen || c.evicted[o.id]
}

// end looks at what is left.
func (c *checker) end() {
	f := &c.report.Figures
	f.Took = time.Duration(c.last - c.first)
	if f.Again > f.Bound {
		c.wrong(RuleReplay, "%d times a settled message was handled again, at most %d may be", f.Again, f.Bound)
	}
	for name, m := range c.members {
		if len(m.open) > 0 && !m.ended {
			c.wrong(RuleConserve, "%s is gone without a trace, with %d turns under way", name, len(m.open))
		}
	}
	for _, p := range c.places {
		for i, m := range p.messages {
			switch {
			case c.h.Stuck != "" && m.Key == c.h.Stuck:
			case !p.settled[i]:
				c.wrong(RuleLost, "%s/%d@%d key %s number %d was never settled", m.Stream, m.Partition, m.Offset, m.Key, m.Number)
			case p.last[i] == 0:
				// A sink that looks at epochs has refused it.
				c.wrong(RuleLost, "%s/%d@%d key %s number %d was settled only by an owner that was not the newest any more", m.Stream, m.Partition, m.Offset, m.Key, m.Number)
			}
		}
	}
	if c.h.Withholds {
		for _, p := range c.places {
			c.inOrder(p)
		}
	}
	for p, stored := range c.h.Committed {
		c.final(c.place(p), stored)
	}
}
