package livetest

import "github.com/keystrand/keystrand/commit"

// strand is what is known of the messages of a diverted key in the store.
type strand struct {
	marking, marked int64 // the largest offset of a mark that was tried, and of one that is durable
	removing        bool  // its removal was tried
	first           int   // number of the event of its owner's first durable mark; 0: none
}

// restored is a strand as the store gave it to a new owner.
type restored struct {
	mark    int64
	records commit.Range
}

// opened is the answer of the store to a new owner. From here on no call of an earlier one stores anything.
func (c *checker) opened(e *Event, o *owner) {
	p, old := o.place, o.acting
	if old != nil && old.epoch >= o.epoch {
		c.wrong(RuleStale, "%v: the store is open for epoch %d", e, old.epoch)
		return
	}
	for key, s := range p.strands {
		_, found := o.restored[key]
		c.wrongIf(!found && !s.removing, RuleLost, "%v: the store has lost the strand of key %s", e, key)
	}
	for i := range p.messages {
		m, v := &p.messages[i], &o.views[i]
		r, found := o.restored[m.Key]
		v.known, v.claimed = m.settled, v.covered || m.kept
		switch {
		case !found && m.kept:
			m.leaves()
		case found && m.Offset <= r.mark:
			v.covered, v.claimed = true, true
			m.mark(e.At)
		case found && m.Offset >= r.records.From && m.Offset < r.records.To:
			v.covered = false
			if m.kept && !m.settled {
				c.Figures.Inherited++
			}
		}
	}
	c.acts(e, o)
	o.opened = c.now
	p.strands = map[string]*strand{}
	for key, r := range o.restored {
		p.strands[key] = &strand{marking: r.mark, marked: r.mark}
	}
}

// restores is a strand that the store gives to a new owner, before the event opened. Progress is its mark and the range of its
// offsets, Count its messages.
func (c *checker) restores(e *Event, o *owner) {
	if len(e.Progress.Ahead) != 1 || o.opened > 0 {
		c.wrong(RuleHistory, "%v: not a strand of a store that is being opened", e)
		return
	}
	r := restored{e.Progress.Frontier - 1, e.Progress.Ahead[0]}
	o.restored[e.Key] = r
	kept := 0
	for _, m := range o.messages {
		if m.Key == e.Key && m.kept && m.Offset > r.mark {
			kept++
		}
	}
	c.wrongIf(e.Count < kept, RuleLost, "%v: the store has %d messages behind offset %d, and %d were durable", e, e.Count, r.mark, kept)
	if s := o.strands[e.Key]; s != nil {
		c.wrongIf(r.mark < s.marked, RuleBack, "%v: the mark is %d, and %d was durable", e, r.mark, s.marked)
		c.wrongIf(r.mark > s.marking, RuleProgress, "%v: nobody has tried the mark %d", e, r.mark)
	}
}

// kept is a message that is durable in the store. A commit may claim it; it is not handled yet.
func (c *checker) kept(e *Event, o *owner, i int) {
	c.Figures.Kept++
	o.views[i].claimed = true
	m := &o.messages[i]
	if !c.durable(e, o) {
		return
	}
	if o.strands[m.Key] == nil {
		o.strands[m.Key] = &strand{marking: -1, marked: -1}
	}
	if !m.kept && m.Offset > o.strands[m.Key].marked {
		m.kept, m.acked = true, 0
	}
}

// durable reports whether the owner is the one for whom the store is open. If another one is, the call began before.
func (c *checker) durable(e *Event, o *owner) bool {
	switch {
	case o.opened == 0:
		c.wrong(RuleHistory, "%v: the store is not open", e)
	case o.acting != o:
		c.wrongIf(o.storing[e.Count] > o.acting.opened, RuleStale, "%v: stored, and the store is open for epoch %d", e, o.acting.epoch)
	}
	return o.opened > 0 && o.acting == o
}

// marking checks a mark, or the removal of a strand, that begins. It must claim only what is settled. What is not in the
// store must be committed before: otherwise it could come again, behind messages that do not.
func (c *checker) marking(e *Event, o *owner) {
	if o.acting != o {
		return
	}
	o.unsaved++
	removes := e.Text == Removed
	if s := o.strands[e.Key]; s != nil {
		s.marking, s.removing = max(s.marking, e.Offset), s.removing || removes
	}
	for i, m := range o.messages {
		switch {
		case m.Key != e.Key || m.Offset > e.Offset && !(removes && m.kept):
		case !o.views[i].covered && !(c.Withholds && o.views[i].known):
			c.wrong(RuleProgress, "%v: the mark claims offset %d, which is not settled", e, m.Offset)
		case !m.kept && !o.stored.Settled(m.Offset):
			c.wrong(RuleProgress, "%v: the mark claims offset %d, which is neither in the store nor committed", e, m.Offset)
		}
	}
}

// marked is a durable mark, or the durable removal of a strand.
func (c *checker) marked(e *Event, o *owner) {
	if !c.durable(e, o) {
		return
	}
	o.unsaved--
	s := o.strands[e.Key]
	if s == nil { // removed meanwhile
		return
	}
	s.marked = max(s.marked, e.Offset)
	if s.first == 0 {
		s.first = c.now
	}
	if began := o.storing[e.Count]; e.Text != Removed && (len(o.saves) == 0 || o.saves[len(o.saves)-1] != began) {
		o.saves = append(o.saves, began)
	}
	for i := range o.messages {
		if m := &o.messages[i]; m.Key == e.Key && m.Offset <= e.Offset {
			m.mark(e.At)
		}
	}
	if e.Text != Removed {
		return
	}
	c.Figures.Removed++
	delete(o.strands, e.Key)
	for i := range o.messages {
		if m := &o.messages[i]; m.Key == e.Key && m.kept {
			m.leaves()
		}
	}
}

// mark records that a durable mark claims the message.
func (m *message) mark(at int64) {
	if m.kept && m.acked == 0 {
		m.acked = at
	}
}

// leaves records that the store does not have the message any more. Until a commit that claims it is stored, it can come again.
func (m *message) leaves() { m.kept, m.acked = false, m.committed }

// unmarked returns the number of the event before which a handled message of the store is marked. A commit, and then marks,
// follow one another; the last two may have been noted before.
func (o *owner) unmarked(key string) int {
	s := o.strands[key]
	if n := len(o.saves); n >= 3 && s != nil && s.first > 0 && s.first < o.saves[n-3] {
		return o.saves[n-3]
	}
	return 0
}
