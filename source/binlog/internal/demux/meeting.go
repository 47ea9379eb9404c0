package demux

import (
	"maps"
	"slices"
	"time"
)

// A statement that names several tables runs at one of them, the applier. These tables meet at it: the applier gets it when all
// others have settled what comes before it, and the others get it, and what follows, when the applier has settled it. The
// numbers of one session compare, so what is settled is what is stored.

// meets reports whether the table may hand out a statement. If not, the commit of another table wakes it.
func (t *table) meets(c *chunk) bool {
	if len(c.meets) < 2 {
		return true
	}
	t.ses.meet(t, true) // before the look at the others: none of their commits is missed
	missing := t.missing(c)
	t.mu.Lock()
	if t.misses == "" {
		t.missed = time.Now()
	}
	t.misses = missing
	t.mu.Unlock()
	if missing != "" {
		return false
	}
	t.ses.meet(t, false)
	return true
}

// waitsForOthers reports whether the table waits for another one, which may need the shared reader to come so far.
func (t *table) waitsForOthers() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.misses != ""
}

// missing returns a table that the table waits for at a statement, empty if there is none.
func (t *table) missing(c *chunk) string {
	for i, name := range c.meets {
		least := c.first
		switch {
		case name == t.name:
			continue
		case i == 0:
			least++
		case !c.ddl.Apply:
			continue
		}
		o := t.ses.table(name)
		if o == nil || t.ses.s.isLost(name) || o.stored.Load() >= least || i > 0 && o.hasStopped() {
			continue
		}
		return name
	}
	return ""
}

// meet records whether a table waits for others.
func (ses *session) meet(t *table, waits bool) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	if waits {
		ses.meeting[t] = true
	} else {
		delete(ses.meeting, t)
	}
	ses.meets.Store(int64(len(ses.meeting)))
}

// wakeMeeting wakes the tables that wait for others.
func (ses *session) wakeMeeting() {
	if ses.meets.Load() == 0 {
		return
	}
	ses.mu.Lock()
	waiting := slices.Collect(maps.Keys(ses.meeting))
	ses.mu.Unlock()
	for _, t := range waiting {
		poke(t.wake)
	}
}
