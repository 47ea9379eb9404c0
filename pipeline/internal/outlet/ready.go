package outlet

import (
	"container/heap"
	"slices"
	"time"
)

func (w *writer[X]) readyLocked(l *lane[X]) {
	if w.last == nil {
		w.first = l
	} else {
		w.last.link = l
	}
	w.last = l
}

// waitLocked makes a lane ready once it is due.
func (w *writer[X]) waitLocked(l *lane[X], now time.Time) {
	if l.due.After(now) {
		heap.Push(&w.later, l)
	} else {
		w.readyLocked(l)
	}
}

func (w *writer[X]) popReadyLocked() *lane[X] {
	l := w.first
	if w.first, l.link = l.link, nil; w.first == nil {
		w.last = nil
	}
	return l
}

// sweepLocked removes lanes that are gone from the ready list and from later.
func (w *writer[X]) sweepLocked() {
	for l := w.first; l != nil; l = w.first {
		if !l.gone {
			break
		}
		w.popReadyLocked()
	}
	for l := w.first; l != nil && l.link != nil; {
		if !l.link.gone {
			l = l.link
			continue
		}
		if w.last == l.link {
			w.last = l
		}
		l.link = l.link.link
	}
	w.later = slices.DeleteFunc(w.later, func(l *lane[X]) bool { return l.gone })
	for i, l := range w.later {
		l.place = i
	}
	heap.Init(&w.later)
}
