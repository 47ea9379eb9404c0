package keyed

// flush carries the results of the turns that one goroutine finishes, through three steps:
//
//   - finish calls Config.Finish for the items that left, without the lock;
//   - settleLocked releases the lanes;
//   - clean clears the items' memory and drops late items, without the lock.
type flush[T any] struct {
	worker  *worker[T] // the worker whose claim ends with these turns, or nil
	entries []entry[T]
	own     []entry[T] // copies of the entries of closed claims
	spent   int64      // duration of the claim's turns, in ns
	turns   int

	items []*T // argument of Finish
	dead  []*node[T]
	late  []lateItem[T] // items left undone after their queue was fenced
	early []*Token[T]   // tokens completed before their turn returned
	ended []*Queue[T]   // one for each turn that ends when its late items are dropped
}

type lateItem[T any] struct {
	queue *Queue[T]
	node  *node[T]
}

// finish calls Config.Finish once for each queue in f.
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
			clear(f.items) // the next queue may have fewer
		}
	}
}

// dirty reports whether f needs a call of clean.
func (f *flush[T]) dirty() bool { return len(f.dead)+len(f.late)+len(f.early) > 0 }

// clean drops the late items and clears the memory of the items that left, which would keep their payload. The next
// settleLocked frees it.
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
