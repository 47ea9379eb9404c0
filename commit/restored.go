package commit

import "slices"

// Restored returns how many offsets, of those that an earlier owner settled ahead of the frontier, are not fetched again yet.
func (t *Tracker) Restored() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unread
}

// settleRestored settles the messages just tracked that are in restored ranges, and marks them in its result.
func (t *Tracker) settleRestored(first int64, offsets []int64) []bool {
	if t.reached == len(t.restored) {
		return nil
	}
	var settled []bool
	for i, o := range offsets {
		for t.reached < len(t.restored) && t.restored[t.reached].To <= o {
			t.reached++
		}
		if t.reached == len(t.restored) {
			break
		}
		if o < t.restored[t.reached].From {
			continue
		}
		if settled == nil {
			t.scratch = slices.Grow(t.scratch[:0], len(offsets))[:len(offsets)]
			clear(t.scratch)
			settled = t.scratch
			t.changed++
		}
		settled[i] = true
		n := first + int64(i)
		t.settleWord(n>>wordShift, 1<<(n&wordMask))
	}
	return settled
}

// passRestored counts the restored offsets that the position has passed since it was at before.
func (t *Tracker) passRestored(before int64) {
	i := t.reached
	for i > 0 && t.restored[i-1].To > before { // settleRestored has passed it
		i--
	}
	for ; i < len(t.restored) && t.restored[i].From < t.position; i++ {
		r := t.restored[i]
		t.unread -= max(0, min(r.To, t.position)-max(r.From, before))
		if r.To <= t.position {
			t.reached = max(t.reached, i+1)
		}
	}
}
