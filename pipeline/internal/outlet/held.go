package outlet

import "time"

// end ends an output that is held.
func (w *writer[X]) end(o *Output[X]) {
	var freed []*Output[X]
	removed := false
	w.mu.Lock()
	if l := w.all[laneID[X]{o.Owner, o.Lane}]; l != nil && o.state != outputEnded {
		idle := l.idle()
		o.state = outputEnded // putBack removes it if the Write that refused it is still being settled
		if removed = l.remove(o); removed && l.taken == 0 {
			switch {
			case l.head == nil:
				freed = w.removeLocked(l, freed)
			case idle && !l.idle():
				w.waitLocked(l, time.Now())
			}
		}
	}
	w.mu.Unlock()
	if removed {
		o.Owner.ended(1)
	}
	w.x.release(freed)
	w.rouse()
}

// removeLocked removes an empty lane. It appends the outputs that waited for the lane to freed.
func (w *writer[X]) removeLocked(l *lane[X], freed []*Output[X]) []*Output[X] {
	delete(w.all, l.id)
	freed = append(freed, l.after...)
	if len(w.spare) < writeMessages {
		clear(l.after)
		*l = lane[X]{after: l.after[:0]}
		w.spare = append(w.spare, l)
	}
	return freed
}

// hold marks a refused output as held or halted, unless it has already ended.
func (w *writer[X]) hold(o *Output[X], as outputState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.state == outputPending {
		o.state = as
	}
}

// Held reports whether the output is held. Call it only from the function passed to [Outlet.Find].
func (o *Output[X]) Held() bool { return o.state == outputHeld }
