package outlet

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
)

// Output has the messages that one message's turn emitted. Set the exported fields before [Outlet.Add]. Afterwards it
// belongs to the outlet until [Owner.Pending] no longer counts it, even after a hook has received its end.
type Output[X any] struct {
	// Owner is the ownership of the partition.
	Owner *Owner[X]
	// Lane is the hash of the output's lane. More has the hashes of further lanes. All means all lanes of the owner. For
	// an output with More or All, the caller adds no other output of these lanes until it has ended.
	Lane uint64
	More []uint64
	All  bool
	// Messages has the messages that are not durable yet, in order; at least one.
	Messages []keystrand.Message
	// Value is the caller's own.
	Value X

	to     *Outlet[X]
	next   *Output[X]    // in its lane; guarded by the writer's mu
	before atomic.Int32  // lanes with earlier outputs
	state  outputState   // guarded by the writer's mu
	pause  time.Duration // the last pause; only the writer's goroutine uses it
}

// outputState tells whether a refused output is held or halted.
type outputState uint8

const (
	outputPending outputState = iota
	outputHeld
	outputHalted
	outputEnded
)

const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// failed doubles the pause, and returns when the output may be written again.
func (o *Output[X]) failed(now time.Time) time.Time {
	o.pause = min(max(2*o.pause, firstPause), maxPause)
	return now.Add(o.pause)
}

// mixes reports whether an output and an earlier one of its lane have different keys, or none. A sink keeps order only
// within a key. In one Write it could store the later output without the earlier one, so they need two Writes.
func (o *Output[X]) mixes(first *Output[X]) bool {
	m := &first.Messages[0]
	other := func(x keystrand.Message) bool {
		return m.Key == nil || x.Key == nil || m.Stream != x.Stream || !bytes.Equal(m.Key, x.Key)
	}
	return slices.ContainsFunc(first.Messages, other) || slices.ContainsFunc(o.Messages, other)
}

// lane is the FIFO of one lane's outputs. It exists while it has outputs. Guarded by the writer's mu.
type lane[X any] struct {
	id         laneID[X]
	head, tail *Output[X]
	taken      int          // outputs from head on in the running Write
	due        time.Time    // after a failure: when it may be written again
	place      int          // index in writer.later
	link       *lane[X]     // next in the writer's ready list
	gone       bool         // cut
	after      []*Output[X] // outputs of several lanes that wait until this lane is empty
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

// keep replaces the outputs of the last Write by kept, those that have not ended.
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

// drop removes all outputs except those in the running Write. It appends held outputs to held, and others to dropped.
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

// remove removes o unless the running Write has it. It reports whether it did.
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

// idle reports whether the lane waits for the end or the cut of its first output: it is not ready, not in later, and not in
// a Write.
func (l *lane[X]) idle() bool {
	return l.taken == 0 && l.head != nil && (l.head.state == outputHeld || l.head.state == outputHalted)
}

// later is a heap of lanes by due.
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
