package livetest

import "slices"

// A service that withholds tells a new owner nothing. The owner is held to what was settled when it began, by any owner:
//
//   - A message starts only when each earlier one of its key was settled then, or has been settled by this owner.
//   - The last settlements of a key's messages are in their order: when one is delivered again, all later ones are too.
//   - A message is delivered again only if no stored commit covers it, or the last one said that it could not express it, or
//     an [Allowance] permits the service to forget it.
//   - A commit claims nothing that its owner has begun and not settled.

// begins marks what the service may deliver again to a new owner.
func (c *checker) begins(old, o *owner) {
	for i := range o.views {
		m, v := &o.place.messages[i], &o.views[i]
		// An owner that released the place in order has acknowledged all that it settled.
		unacked := m.acked == 0 && !(old.inOrder() && old.views[i].covered)
		if v.may = v.known && (unacked || m.forgot != nil); v.may {
			c.Figures.Bound++
		}
	}
	o.spare = old.stored.replays + old.spare
	c.Figures.Bound += o.spare
}

// again is a settled message that the newest owner gets again.
func (c *checker) again(e *Event, o *owner, i int) {
	m, v := &o.place.messages[i], o.views[i]
	if m.acked != 0 && m.forgot != nil {
		c.Forgotten[m.forgot.Reason]++
	}
	m.acked, m.forgot = 0, nil // it is not acknowledged, or would not have come
	if !v.known || v.may {
		return
	}
	if o.spare == 0 {
		c.wrong(RuleReplay, "%v: a stored commit covers it, and it is delivered again", e)
		return
	}
	o.spare--
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
			// The service stores all that it has confirmed now and then. After a quiet time the newest can be old.
			if m := &p.messages[i]; m.acked > p.confirmed-int64(a.Newest) && m.acked != 0 {
				m.forgot = a
			}
		}
	}
}

// confirm records that a commit is stored. While a node ends, the service may forget it. An owner that the end of a node
// disconnects may write later that a commit was stored before.
func (c *checker) confirm(e *Event, o *owner) {
	var forgot *Allowance
	if c.ending || c.evicted[o.id] && o.endings < len(c.endings) {
		forgot = c.endings[len(c.endings)-1]
	}
	p := o.place
	for i := range p.messages {
		if m := &p.messages[i]; m.acked == 0 && o.try.progress.Settled(m.Offset) {
			m.acked, m.forgot = e.At, forgot
		}
	}
	p.confirmed = e.At
}

// inOrder checks the last settlements of each key's messages. A message that only an old owner has settled has none.
func (c *checker) inOrder(p *place) {
	latest := map[string]*message{} // of the key: the one settled last, so far
	for i := range p.messages {
		m := &p.messages[i]
		l := latest[m.Key]
		switch {
		case m.last == 0:
		case l != nil && m.last < l.last:
			c.wrong(RuleOrder, "%v: offset %d of key %s was settled again after the last time that offset %d was, which follows it",
				p.name, l.Offset, m.Key, m.Offset)
		default:
			latest[m.Key] = m
		}
	}
}
