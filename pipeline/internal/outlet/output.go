package outlet

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
)

// Output is what one message leaves for a sink. Fill in the exported fields before [Outlet.Add]; afterwards it belongs to
// the outlet, also when a hook was told how it ended, until [Owner.Pending] no longer counts it.
type Output[X any] struct {
	// Owner is the ownership it belongs to.
	Owner *Owner[X]
	// Lane is the hash of the lane whose order it keeps. More are the hashes of further lanes; the caller adds nothing
	// else of any of these lanes until the output has ended. All stands for all lanes of the owner, likewise.
	Lane uint64
	More []uint64
	All  bool
	// Messages are those that are not durable yet, in order; at least one.
	Messages []keystrand.Message
	// Value is the caller's own.
	Value X

	to     *Outlet[X]
	next   *Output[X]    // of its lane; guarded by the writer's mu
	before atomic.Int32  // lanes whose earlier outputs have not ended
	state  outputState   // guarded by the writer's mu
	pause  time.Duration // before it is written again, the last time; the writer's goroutine's alone
}

// outputState says whether an output that was refused is held.
type outputState uint8

const (
	outputPending outputState = iota
	outputHeld
	outputEnded
)

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// failed returns when the output may be written again.
func (o *Output[X]) failed(now time.Time) time.Time {
	o.pause = min(max(2*o.pause, firstPause), maxPause)
	return now.Add(o.pause)
}

// mixes reports whether an output has another key than an earlier one of its lane, or none. A sink keeps the order of each
// key alone, so of the two in one Write it could store only the later one: they need two Writes.
func (o *Output[X]) mixes(first *Output[X]) bool {
	m := &first.Messages[0]
	other := func(x keystrand.Message) bool {
		return m.Key == nil || x.Key == nil || m.Stream != x.Stream || !bytes.Equal(m.Key, x.Key)
	}
	return slices.ContainsFunc(first.Messages, other) || slices.ContainsFunc(o.Messages, other)
}

// lane is the FIFO of one lane's outputs. It exists while it has any. Guarded by the writer's mu.
type lane[X any] struct {
	id         laneID[X]
	head, tail *Output[X]
	taken      int          // from head on, in the Write under way
	due        time.Time    // of a lane that failed: not written before
	place      int          // in writer.later
	link       *lane[X]     // in writer.ready
	gone       bool         // cut
	after      []*Output[X] // of several lanes: wait until this one is empty
}

type laneID[X any] struct {
	owner *Owner[X]
	hash  uint64
}

func (l *lane[X]) push(o *Output[X]) {
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.next = o
	}
	l.tail = o
}

// keep replaces the outputs of the last Write by those of them that are not durable.
func (l *lane[X]) keep(kept []*Output[X]) {
	for range l.taken {
		o := l.head
		l.head, o.next = o.next, nil
	}
	if l.head == nil {
		l.tail = nil
	}
	l.taken = 0
	for _, o := range slices.Backward(kept) {
		o.next = l.head
		l.head = o
		if l.tail == nil {
			l.tail = o
		}
	}
}

// drop removes all outputs but those of the Write under way. It returns the held ones behind held, the others behind
// dropped.
func (l *lane[X]) drop(dropped, held []*Output[X]) (_, _ []*Output[X]) {
	var last *Output[X]
	o := l.head
	for range l.taken {
		last, o = o, o.next
	}
	if last == nil {
		l.head = nil
	} else {
		last.next = nil
	}
	l.tail = last
	for o != nil {
		next := o.next
		o.next = nil
		if o.state == outputHeld {
			o.state = outputEnded
			held = append(held, o)
		} else {
			dropped = append(dropped, o)
		}
		o = next
	}
	return dropped, held
}

// remove removes an output that is not in the Write under way. It reports whether it did.
func (l *lane[X]) remove(o *Output[X]) bool {
	var before *Output[X]
	i := 0
	for x := l.head; x != nil; before, x, i = x, x.next, i+1 {
		if x != o {
			continue
		}
		if i < l.taken {
			return false
		}
		if before == nil {
			l.head = o.next
		} else {
			before.next = o.next
		}
		if l.tail == o {
			l.tail = before
		}
		o.next = nil
		return true
	}
	return false
}

// idle reports whether the lane is neither ready, nor waits for a time, nor is in the Write under way.
func (l *lane[X]) idle() bool { return l.taken == 0 && l.head != nil && l.head.state == outputHeld }

// later is a heap of lanes by the time at which they may be written again.
type later[X any] []*lane[X]

func (h later[X]) Len() int           { return len(h) }
func (h later[X]) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h later[X]) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i, j }
func (h *later[X]) Push(x any)        { l, _ := x.(*lane[X]); l.place = len(*h); *h = append(*h, l) }

func (h *later[X]) Pop() any {
	n := len(*h) - 1
	l := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return l
}
