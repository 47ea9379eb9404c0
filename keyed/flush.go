package keyed

// flush is what became of the turns that one goroutine finishes, on its way through three steps: finish tells which items left (no
// lock), settleLocked releases their lanes, clean lets go of the items' memory and drops late ones (no lock).
type flush[T any] struct {
	worker  *worker[T] // whose claim ends with it; nil: nobody's
	entries []entry[T]
	own     []entry[T] // entries of closed claims are copied to here
	spent   int64      // ns that turns of the claim took
	turns   int

	items []*T // the argument of Finish
	dead  []*node[T]
	late  []lateItem[T] // came back after their queue was fenced
	early []*Token[T]   // were completed before their turn returned
	ended []*Queue[T]   // whose turns end when late ones are dropped, one each
}

type lateItem[T any] struct {
	queue *Queue[T]
	node  *node[T]
}

// finish calls Finish once for each queue in f.
func (e *Executor[T]) finish(f *flush[T]) {
	if e.cfg.Finish == nil {
		return
	}
	for i := range f.entries {
		if f.entries[i].told {
			continue
		}
		q := f.entries[i].queue
		f.items = f.items[:0]
		for j := i; j < len(f.entries); j++ {
			en := &f.entries[j]
			if en.queue != q {
				continue
			}
			en.told = true
			for n, p := en.done, en.first; n > 0; n, p = n-1, p.next {
				f.items = append(f.items, &p.item)
			}
		}
		if len(f.items) > 0 {
			e.cfg.Finish(q, f.items)
		}
	}
	clear(f.items)
}

// dirty reports whether clean is due.
func (f *flush[T]) dirty() bool { return len(f.dead)+len(f.late)+len(f.early) > 0 }

// clean drops the late items and clears the memory of those that left, which pins their payload; the next settleLocked
// gives it back.
func (f *flush[T]) clean(e *Executor[T]) {
	for _, x := range f.late {
		if x.queue.drop != nil {
			x.queue.drop(&x.node.item)
		}
		f.dead = append(f.dead, x.node)
	}
	clear(f.late)
	f.late = f.late[:0]
	for _, n := range f.dead {
		*n = node[T]{}
	}
	if len(f.ended) > 0 {
		e.mu.Lock()
		e.settleLocked(f, 0)
		e.unlock()
	}
	if len(f.early) > 0 {
		e.mu.Lock()
		g := e.flushLocked()
		for _, t := range f.early {
			g.own = append(g.own, t.overLocked())
		}
		e.unlock()
		clear(f.early)
		f.early = f.early[:0]
		e.endWaits(g)
	}
}
