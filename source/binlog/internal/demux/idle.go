package demux

import (
	"context"
	"time"
)

// idleParts is in how many groups idle tables are moved, one after the other, so that their commits are spread.
const idleParts = 10

// reached records a transaction end of the shared reader. All tables have the rows up to it that they get from that reader.
// bytes is how much log was read since idle tables were moved. reached returns how much of it still counts.
func (ses *session) reached(m mark, bytes int) int {
	part := max(ses.s.cfg.IdleBytes/idleParts, 1)
	ses.mu.Lock()
	ses.last = m
	ses.owed = min(ses.owed+bytes/part, idleParts)
	ses.mu.Unlock()
	if bytes >= part {
		poke(ses.moved)
	}
	return bytes % part
}

// moveIdle moves the tables to the shared reader's position, also those without rows: one group at a time.
func (ses *session) moveIdle(ctx context.Context) {
	tick := time.NewTicker(max(ses.s.cfg.IdleInterval/idleParts, 1))
	defer tick.Stop()
	for group := 0; ; {
		owed := 1
		select {
		case <-tick.C:
		case <-ses.moved:
			ses.mu.Lock()
			owed, ses.owed = ses.owed, 0
			ses.mu.Unlock()
		case <-ctx.Done():
			return
		}
		for ; owed > 0; owed-- {
			if err := ses.moveGroup(group); err != nil {
				ses.stop(err)
				return
			}
			group = (group + 1) % idleParts
		}
	}
}

// moveGroup moves the tables of one group.
func (ses *session) moveGroup(group int) error {
	ses.mu.Lock()
	last, order := ses.last, ses.order
	ses.mu.Unlock()
	for i := group; i < len(order); i += idleParts {
		t := order[i]
		passed, _, err := t.passes(false, last)
		if err != nil {
			return err
		}
		t.rest()
		if passed {
			t.push(false, nil, last, &last, nil)
		}
	}
	return nil
}

// rest records whether the table has had no rows since the last call: it can give memory back.
func (t *table) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle, t.seen = t.next == t.seen, t.next
}
