package keyed

import (
	"fmt"
	"slices"
)

// Token makes a lane wait for something outside its turn, such as a write to a store. Run sets it as [Turn.Await] and
// returns. The lane then waits without a worker, a goroutine or a timer. To end the wait, set Result and call
// [Executor.Complete].
//
// A Token is used once. Embed it in the value that describes the operation, so that waiting allocates nothing. Do not
// copy it after Run has returned.
type Token[T any] struct {
	// Items is how many items wait, counted from the first that the turn leaves in its lane. The others go back to the
	// lane. 0 means all. Set it before Run returns.
	Items int

	// Note is for the caller's use: [Queue.Lanes] reports it. Set it before Run returns.
	Note uint8

	// Result is the outcome of the wait, as if a turn of the waiting items had returned it. Set it before Complete.
	Result Result

	state tokenState // guarded by Executor.mu, as are the next three fields
	index uint32     // place in Executor.waits
	since int64
	entry entry[T] // the waiting items and their lane
}

type tokenState uint8

const (
	tokenNew     tokenState = iota
	tokenEarly              // Complete was called before Run returned
	tokenWaiting            // Run has returned
	tokenOver               // Complete was called and Run has returned
)

// Complete ends the waits of the tokens. It calls Finish for the items that leave by the tokens' Results; then their
// lanes go on. After a fence it drops the items that do not leave, and starts no turn of them.
//
// Complete may be called before the Run that set a token has returned; the return of Run then ends the wait.
//
// Complete is safe to call from any goroutine. It calls Finish and the fence's drop on its caller's goroutine. It locks
// the executor a few times for each 256 tokens. Each token must be completed exactly once: Complete
// ignores tokens that were completed before and returns an error with their number.
func (e *Executor[T]) Complete(tokens ...*Token[T]) error {
	again := 0
	for i := 0; i < len(tokens); i += joinAtOnce {
		again += e.completeSome(tokens[i:min(i+joinAtOnce, len(tokens))])
	}
	if again > 0 {
		return fmt.Errorf("keyed: complete: %d of %d tokens were already completed; complete each token once", again, len(tokens))
	}
	return nil
}

// completeSome is Complete for a few tokens. It returns how many were already completed.
func (e *Executor[T]) completeSome(tokens []*Token[T]) (again int) {
	e.mu.Lock()
	f := e.flushLocked()
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
	return again
}

// Renote changes the Note of a token whose wait goes on for another reason. Safe to call from any goroutine.
func (e *Executor[T]) Renote(t *Token[T], note uint8) {
	e.mu.Lock()
	defer e.unlock()
	t.Note = note
}

// overLocked ends the token's wait and returns its turn with Result applied.
func (t *Token[T]) overLocked() entry[T] {
	t.state = tokenOver
	en := t.entry
	en.set(t.Result)
	return en
}

// endWaits finishes and releases the turns in f.own and returns f to the pool. The caller holds no lock.
func (e *Executor[T]) endWaits(f *flush[T]) {
	own := f.own
	if len(own) > 0 {
		f.entries, f.own = own, nil
		e.finish(f)
		now := e.now()
		e.mu.Lock()
		e.settleLocked(f, now)
		if len(e.gated) > 0 {
			e.ungateLocked(now) // do it here, since all workers may be busy for long
		}
		e.wakeLocked()
		e.unlock()
		f.clean(e)
	}
	e.mu.Lock()
	e.settleLocked(f, 0) // frees the nodes that clean has cleared
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

// awaitLocked makes a lane wait for the token of the turn that has just returned. Done items leave, and items behind
// the waiting ones go back to the lane.
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

// splitLocked cuts a chain of rest items after the first held ones and puts the end back into its lane.
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
	q.turns++ // counts until clean has dropped them
	f.ended = append(f.ended, q)
	for range rest - held {
		next := behind.next
		f.late = append(f.late, lateItem[T]{q, behind})
		behind = next
	}
}

// unwaitLocked removes a token from the waits. Its items count as running until they are released, a moment later.
func (e *Executor[T]) unwaitLocked(en *entry[T]) {
	t := en.token
	if t.entry.lane == nil {
		panic("keyed: a Token was set for two turns; use a new one for each")
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
