package keyed

import (
	"fmt"
	"slices"
)

// Token is one wait of a lane for something that happens outside its turn, such as a write to a store. Run sets it as
// [Turn.Await] and returns: the lane then waits and holds no worker, no goroutine and no timer. Whoever finishes what it
// waits for sets Result and calls [Executor.Complete].
//
// A Token is used once. It belongs inside the value that describes the wait, so that waiting allocates nothing; it must
// not be copied after Run has returned.
type Token[T any] struct {
	// Items is how many items wait, counted from the first that the turn leaves in its lane. Those behind them go back to
	// the lane. 0 means all. Set it before Run returns.
	Items int

	// Note is the caller's own. [Queue.Lanes] shows it, to say what a lane waits for. Set it before Run returns.
	Note uint8

	// Result is what the wait comes to, as if a turn of the items that wait had returned it. Set it before Complete.
	Result Result

	state tokenState // guarded by Executor.mu, as are the next three
	index uint32     // in Executor.waits
	since int64
	entry entry[T] // the items that wait, and their lane
}

type tokenState uint8

const (
	tokenNew     tokenState = iota
	tokenEarly              // Complete was called before Run returned
	tokenWaiting            // Run has returned
	tokenOver               // both
)

// Complete ends the waits of the tokens: Finish is called for the items that their results let leave, then their lanes go
// on. It may come before the Run that set a token has returned; then the return of Run does the same. After a fence,
// items that do not leave are dropped, and no turn of them starts.
//
// Complete is safe to call from any goroutine and calls Finish, and the fence's drop, from this one. It takes the
// executor's lock a fixed number of times, however many tokens there are. A token must be completed exactly once: the
// error counts those that were completed before, which nothing is done for.
func (e *Executor[T]) Complete(tokens ...*Token[T]) error {
	e.mu.Lock()
	f := e.flushLocked()
	again := 0
	for _, t := range tokens {
		switch t.state {
		case tokenNew:
			t.state = tokenEarly
		case tokenWaiting:
			f.own = append(f.own, t.overLocked())
		case tokenEarly, tokenOver:
			again++
		}
	}
	e.unlock()
	e.endWaits(f)
	if again > 0 {
		return fmt.Errorf("keyed: complete: %d of %d tokens were completed before", again, len(tokens))
	}
	return nil
}

// overLocked returns what Result makes of the turn that waits.
func (t *Token[T]) overLocked() entry[T] {
	t.state = tokenOver
	en := t.entry
	en.set(t.Result)
	return en
}

// endWaits finishes and releases f.own, with no lock held, and gives f back.
func (e *Executor[T]) endWaits(f *flush[T]) {
	own := f.own
	if len(own) > 0 {
		f.entries, f.own = own, nil
		e.finish(f)
		now := e.now()
		e.mu.Lock()
		e.settleLocked(f, now)
		if len(e.gated) > 0 {
			e.ungateLocked(now) // all workers may be busy for long
		}
		e.wakeLocked()
		e.unlock()
		f.clean(e)
	}
	e.mu.Lock()
	e.settleLocked(f, 0) // frees what clean has cleared
	f.own = own[:0]
	e.flushes.put(f)
	e.unlock()
}

func (e *Executor[T]) flushLocked() *flush[T] {
	if f := e.flushes.take(); f != nil {
		return f
	}
	return &flush[T]{}
}

// awaitLocked makes a lane wait for the token of the turn that has just returned. What the turn has finished leaves, and
// what is behind the items that wait goes back to the lane.
func (e *Executor[T]) awaitLocked(en *entry[T], f *flush[T], now int64) {
	t, q, l := en.token, en.queue, en.lane
	rest := int(en.n - en.done)
	held := rest
	if t.Items > 0 {
		held = min(t.Items, rest)
	}
	q.running -= int(en.n)
	q.finished += int64(en.done)
	q.waiting += held
	first := en.first
	for range en.done {
		next := first.next
		f.dead = append(f.dead, first)
		first = next
	}
	if rest > held {
		e.splitLocked(q, l, first, held, rest, f)
	}
	if !q.fenced {
		l.single -= min(l.single, uint16(en.done))
		l.single = max(l.single, en.single)
	}
	t.since, t.index = now, uint32(len(e.waits))
	e.waits = append(e.waits, t)
	t.entry = entry[T]{lane: l, queue: q, first: first, n: int32(held), token: t}
	t.entry.lanes(func(x *lane[T]) {
		x.state, x.at, x.taken = Waiting, t.index, uint16(held)
		if x.has(flagEarlier) {
			x.taken = 0
		}
	})
	e.shareLocked(q, l)
	if t.state == tokenEarly {
		t.state = tokenOver
		f.early = append(f.early, t)
		return
	}
	t.state = tokenWaiting
}

// splitLocked cuts a chain of rest items behind the first held, and puts the end back into its lane.
func (e *Executor[T]) splitLocked(q *Queue[T], l *lane[T], first *node[T], held, rest int, f *flush[T]) {
	last := first
	for range held - 1 {
		last = last.next
	}
	behind := last.next
	last.next = nil
	if !q.fenced {
		q.ready += rest - held
		l.back(behind, rest-held)
		return
	}
	q.dropped += int64(rest - held)
	q.turns++ // ends when clean has dropped them
	f.ended = append(f.ended, q)
	for range rest - held {
		next := behind.next
		f.late = append(f.late, lateItem[T]{q, behind})
		behind = next
	}
}

// unwaitLocked ends a wait: its items count as running until they are released, a moment later.
func (e *Executor[T]) unwaitLocked(en *entry[T]) {
	t := en.token
	if t.entry.lane == nil {
		panic("keyed: a Token was used for two turns")
	}
	en.queue.waiting -= int(en.n)
	en.queue.running += int(en.n)
	last := e.waits[len(e.waits)-1]
	e.waits[t.index] = last
	last.index = t.index
	last.entry.lanes(func(x *lane[T]) { x.at = last.index })
	e.waits[len(e.waits)-1] = nil
	e.waits = slices.Delete(e.waits, len(e.waits)-1, len(e.waits))
	t.entry, en.token = entry[T]{}, nil
}

// lanes calls f for each lane of the turn.
func (en *entry[T]) lanes(f func(*lane[T])) {
	if m := en.first.multi; m != nil {
		for _, x := range m.lanes {
			f(x)
		}
		return
	}
	f(en.lane)
}
