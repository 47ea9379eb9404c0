package outlet

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Limits of one Write. A single output may exceed them.
const (
	writeMessages = 1_000
	writeBytes    = 1 << 20
)

// writer writes the outputs of its lanes, with one Write in flight.
//
// Owns one goroutine, from startWriter to close.
type writer[X any] struct {
	x    *Outlet[X]
	sink sink.Writer
	wake chan struct{} // capacity 1: there may be something to write
	stop chan struct{} // closed by close
	done chan struct{} // closed when the goroutine ends

	// The next or running Write. Only the goroutine uses these fields.
	batch   []*Output[X]
	lanes   []*lane[X] // of batch, in its order
	ms      []keystrand.Message
	kept    []*Output[X] // scratch of settle, as is the next
	durable []*Output[X]
	mine    []*Output[X] // scratch of putBack
	failing atomic.Bool  // an output failed in the last Write; only the goroutine writes it
	trouble trouble

	mu    sync.Mutex
	all   map[laneID[X]]*lane[X] // guarded by mu, as are the next five
	first *lane[X]               // list of lanes ready to be written, oldest first
	last  *lane[X]
	later later[X]           // lanes that wait until they are due
	spare []*lane[X]         // empty lanes for reuse
	abort context.CancelFunc // cancels the running Write; nil if there is none
}

func startWriter[X any](x *Outlet[X], s sink.Writer) *writer[X] {
	w := &writer[X]{
		x: x, sink: s, all: map[laneID[X]]*lane[X]{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.loop()
	return w
}

// add appends o to its lane. It returns false if the owner is cut.
func (w *writer[X]) add(o *Output[X]) bool {
	id := laneID[X]{o.Owner, o.Lane}
	w.mu.Lock()
	if o.Owner.cut.Load() { // cut is set before writer.cut drops the owner's lanes, also under the lock
		w.mu.Unlock()
		return false
	}
	l := w.all[id]
	if l == nil {
		if n := len(w.spare) - 1; n >= 0 {
			l, w.spare = w.spare[n], w.spare[:n]
		} else {
			l = &lane[X]{}
		}
		l.id = id
		w.all[id] = l
		w.readyLocked(l)
	}
	l.push(o)
	w.mu.Unlock()
	w.rouse()
	return true
}

// follow makes o wait until a lane is empty, if it has outputs.
func (w *writer[X]) follow(o *Output[X], hash uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.all[laneID[X]{o.Owner, hash}]; l != nil {
		o.before.Add(1)
		l.after = append(l.after, o)
	}
}

// cut drops the outputs of an owner, except those in the running Write. It cancels that Write if it has any.
func (w *writer[X]) cut(owner *Owner[X]) {
	var dropped, held, freed []*Output[X]
	w.mu.Lock()
	for id, l := range w.all {
		if id.owner != owner {
			continue
		}
		dropped, held = l.drop(dropped, held)
		if l.taken > 0 {
			w.abort()
			continue
		}
		l.gone = true
		freed = append(freed, l.after...)
		delete(w.all, id)
	}
	w.sweepLocked()
	calm := len(w.later) == 0
	w.mu.Unlock()
	if calm {
		w.trouble.forget() // what has failed is dropped
	}
	w.x.dropped(dropped)
	count(held)
	w.x.release(freed)
}

func (w *writer[X]) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer[X]) close() error {
	close(w.stop)
	<-w.done
	return w.sink.Close()
}

func (w *writer[X]) find(owner *Owner[X], found func(*Output[X]) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, l := range w.all {
		if id.owner != owner {
			continue
		}
		for o := l.head; o != nil; o = o.next {
			if found(o) {
				return true
			}
		}
	}
	return false
}

func (w *writer[X]) loop() {
	over := false
	defer func() {
		switch v := recover(); {
		case v != nil:
			panic(v)
		case over:
			close(w.done)
		default:
			w.exited()
		}
	}()
	timer := time.NewTimer(0) // after failed Writes only; one, since it may be set for each Write of other lanes
	defer timer.Stop()
	for {
		var due <-chan time.Time
		more, pause := w.writeOnce()
		switch {
		case more:
			select {
			case <-w.stop:
				over = true
				return
			default:
				continue
			}
		case pause > 0:
			timer.Reset(pause)
			due = timer.C
		}
		select {
		case <-w.stop:
			over = true
			return
		case <-w.wake:
		case <-due:
		}
	}
}

// exited continues in another goroutine after a Write has called runtime.Goexit. The outputs of that Write are not durable.
func (w *writer[X]) exited() {
	w.x.hooks.Broken(errWriteExited)
	w.trouble.ended(w.settle(errWriteExited, false), true)
	go w.loop()
}

var errWriteExited = errors.New("pipeline: Write of the sink called runtime.Goexit: it must return")

// writeOnce writes a batch and settles its outputs. If no output can be written now, it returns false and how long until
// one can be written again; 0 if none is in later.
func (w *writer[X]) writeOnce() (more bool, pause time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if pause, more = w.take(cancel, time.Now()); !more {
		return false, pause
	}
	w.trouble.began()
	err := w.x.hooks.Safe(w.sink.Write(ctx, w.ms))
	cause := w.settle(err, ctx.Err() != nil)
	w.failing.Store(cause != nil)
	if w.trouble.ended(cause, w.retries()) {
		w.x.hooks.Failing(cause)
	}
	return true, 0
}

// take prepares the next Write. If no output can be written now, it returns false and how long until one can be; 0 if none
// is in later.
func (w *writer[X]) take(abort context.CancelFunc, now time.Time) (pause time.Duration, some bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.later) > 0 && !w.later[0].due.After(now) {
		l, _ := heap.Pop(&w.later).(*lane[X])
		w.readyLocked(l)
	}
	size := 0
	full := func(o *Output[X]) bool {
		return len(w.ms) > 0 && (len(w.ms)+len(o.Messages) > writeMessages || size > writeBytes)
	}
	for w.first != nil && !full(w.first.head) {
		l := w.popReadyLocked()
		l.due = time.Time{}
		for o := l.head; o != nil && o.state == outputPending && !full(o) && (l.taken == 0 || !o.mixes(l.head)); o = o.next {
			for i := range o.Messages {
				size += o.Messages[i].Size()
			}
			w.ms = append(w.ms, o.Messages...)
			w.batch = append(w.batch, o)
			l.taken++
		}
		w.lanes = append(w.lanes, l)
	}
	if len(w.batch) > 0 {
		w.abort = abort
		return 0, true
	}
	if len(w.later) > 0 {
		pause = w.later[0].due.Sub(now)
	}
	return pause, false
}

// settle ends the outputs that a Write has made durable or that the sink refuses for good. The others stay first in their
// lanes. It returns the error of the first output that itself failed, not only because of one before it. An aborted Write
// refuses nothing, whatever it returns: leaving is not failing.
func (w *writer[X]) settle(err error, aborted bool) (failed error) {
	now := time.Now()
	var refused []*Output[X]
	durable := w.durable[:0]
	w.kept = w.kept[:0]
	partial, _ := errors.AsType[*sink.PartialError](err)
	i, again := 0, 0
	for _, o := range w.batch {
		v := w.judge(i, len(o.Messages), err, partial)
		i += len(o.Messages)
		switch {
		case v.cause == nil:
			durable = append(durable, o)
			continue
		case v.permanent && !aborted:
			o.Messages = v.rest // Refused may replace them
			switch w.x.hooks.Refused(o, v.cause) {
			case Ended:
				refused = append(refused, o)
				continue
			case Hold:
				w.hold(o, outputHeld)
				w.kept = append(w.kept, o)
				continue
			case Halt:
				w.hold(o, outputHalted)
				w.kept = append(w.kept, o)
				continue
			case Rewrite:
				w.kept = append(w.kept, o)
				continue
			case WriteAgain:
			}
		}
		again++
		if !v.permanent || aborted {
			o.Messages = v.rest
		}
		w.kept = append(w.kept, o)
		if o.pause == 0 {
			w.x.hooks.Waits(o)
		}
		if !aborted && !errors.Is(v.cause, sink.ErrBehind) {
			if failed == nil {
				failed = v.cause
			}
			w.delay(o, now)
		}
	}
	if failed == nil && !aborted && again == len(w.batch) {
		w.delay(w.kept[0], now) // every output claims to be behind another: do not spin
	}
	if len(durable) > 0 {
		w.x.hooks.Durable(durable) // before they leave their lanes, so that outputs that follow them are not written yet
	}
	dropped, ended, freed := w.putBack(now)
	w.x.dropped(dropped)
	count(ended)
	count(durable)
	count(refused)
	w.x.release(freed)
	clear(durable)
	w.durable = durable[:0]
	return failed
}

// delay makes the lane of a failed output wait.
func (w *writer[X]) delay(o *Output[X], now time.Time) {
	due := o.failed(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.all[laneID[X]{o.Owner, o.Lane}]; l.due.IsZero() {
		l.due = due
	}
}

// putBack puts the outputs that have not ended back into the lanes of the last Write. It returns the outputs of owners that
// were cut meanwhile (dropped), held outputs that have ended (ended), and outputs that waited for a lane that is empty now
// (freed).
func (w *writer[X]) putBack(now time.Time) (dropped, ended, freed []*Output[X]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abort = nil
	kept := w.kept
	for _, l := range w.lanes {
		n := 0
		for n < len(kept) && kept[n].Owner == l.id.owner && kept[n].Lane == l.id.hash {
			n++
		}
		mine := w.mine[:0]
		for _, o := range kept[:n] {
			if o.state == outputEnded { // End was called before putBack
				ended = append(ended, o)
			} else {
				mine = append(mine, o)
			}
		}
		l.keep(mine)
		w.mine, kept = mine, kept[n:]
		if l.id.owner.cut.Load() {
			dropped, ended = l.drop(dropped, ended)
		}
		switch {
		case l.head == nil:
			freed = w.removeLocked(l, freed)
		case l.idle(): // until End or a cut
		default:
			w.waitLocked(l, now)
		}
	}
	clear(w.batch)
	clear(w.lanes)
	clear(w.ms)
	clear(w.kept)
	clear(w.mine[:cap(w.mine)])
	w.batch, w.lanes, w.ms, w.kept = w.batch[:0], w.lanes[:0], w.ms[:0], w.kept[:0]
	return dropped, ended, freed
}
