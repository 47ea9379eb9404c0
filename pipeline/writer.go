package pipeline

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// What one Write takes at most.
const (
	writeMessages = 1_000
	writeBytes    = 1 << 20
)

// The pause after which an output that has failed is written again: it grows.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// writer writes outputs in the order in which they were added, with one Write in flight. What a Write did not make
// durable is written again after a pause, before anything else of its lane; other lanes go on meanwhile, so that a key
// whose outputs fail delays only itself (I6).
//
// Owns one goroutine, from start to close.
type writer struct {
	p    *Pipeline
	sink sink.Writer
	wake chan struct{} // room for one: there is something to do
	stop chan struct{} // closed by close
	done chan struct{} // closed when the goroutine ends

	lanes   map[outputLane]*output // what decides of each lane in the Write that is put together; the goroutine's alone
	failing bool                   // the last Write left something; the goroutine's alone

	mu    sync.Mutex
	queue []*output          // of each lane in order; guarded by mu
	under []*output          // in the Write under way; guarded by mu
	abort context.CancelFunc // ends the Write under way; guarded by mu
}

func startWriter(p *Pipeline, w sink.Writer) *writer {
	wr := &writer{p: p, sink: w, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), lanes: map[outputLane]*output{}}
	go wr.loop()
	return wr
}

// add puts o behind what waits. It does not block; false: the partition's outputs are cut, o is not written.
func (w *writer) add(o *output) bool {
	w.mu.Lock()
	cut := o.pt.cut.Load() // set before the sweep of this queue, which is done under the lock
	if !cut {
		o.pt.sinking.Add(1)
		w.queue = append(w.queue, o)
	}
	w.mu.Unlock()
	if !cut {
		w.rouse()
	}
	return !cut
}

// cut drops the outputs of a partition whose cut is set, but for those in the Write under way, and tells that Write to
// return if it has some.
func (w *writer) cut(pt *partition) {
	w.mu.Lock()
	dropped, left := int64(0), int64(0)
	keep := w.queue[:0]
	for _, o := range w.queue {
		if o.pt != pt {
			keep = append(keep, o)
			continue
		}
		o.gone.Store(true)
		dropped++
		if !o.inLane {
			left++
		}
	}
	clear(w.queue[len(keep):])
	w.queue = keep
	if w.abort != nil && slices.ContainsFunc(w.under, func(o *output) bool { return o.pt == pt }) {
		w.abort()
	}
	w.mu.Unlock()
	pt.dropped.Add(left)
	pt.sinking.Add(-dropped)
	pt.gate.poke()
}

func (w *writer) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) close() error {
	close(w.stop)
	<-w.done
	return w.sink.Close()
}

func (w *writer) loop() {
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
			due = time.After(pause) //nolint:forbidigo // after a failed write only
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

// exited goes on in another goroutine after a Write has ended this one: what it was given is not durable, and the
// pipeline stops, since a sink that does so would do it again.
func (w *writer) exited() {
	w.mu.Lock()
	again := w.under
	w.mu.Unlock()
	for _, o := range again {
		o.pause()
	}
	w.p.failed(errWriteExited)
	w.putBack(again)
	go w.loop()
}

var errWriteExited = errors.New("pipeline: Write of a sink ended its goroutine (runtime.Goexit): it must return")

// errNotJudged is why a message is written again of which the sink said neither that it is durable nor why not.
var errNotJudged = errors.New("pipeline: the sink's PartialError has no entry for this message")

// writeOnce writes a batch, and settles what is durable. If there is nothing to write now it returns after which pause
// there will be; 0: nothing waits.
func (w *writer) writeOnce() (more bool, pause time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batch, ms, pause := w.take(cancel, time.Now())
	if len(batch) == 0 {
		return false, pause
	}
	err := readable(w.sink.Write(ctx, ms))
	failed := w.sort(batch, ms, err, ctx.Err() != nil)
	if failed && !w.failing {
		w.p.log.LogAttrs(ctx, slog.LevelWarn, "a write failed: it is tried again until it is stored", slog.Any("error", err))
	}
	w.failing = failed
	return true, 0
}

// take returns the outputs of the next Write and their messages; if there are none, how long until one is due.
func (w *writer) take(abort context.CancelFunc, now time.Time) (batch []*output, ms []keystrand.Message, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.lanes)
	size, i := 0, 0
	rest := w.queue[:0]
	for ; i < len(w.queue); i++ {
		o := w.queue[i]
		if len(ms) > 0 && (len(ms)+len(o.messages) > writeMessages || size > writeBytes) {
			break
		}
		if d := o.due.Sub(now); d > 0 && (pause == 0 || d < pause) {
			pause = d
		}
		if !w.takes(o, now) {
			rest = append(rest, o)
			continue
		}
		for j := range o.messages {
			size += o.messages[j].Size()
		}
		ms = append(ms, o.messages...)
		batch = append(batch, o)
	}
	rest = append(rest, w.queue[i:]...)
	clear(w.queue[len(rest):])
	w.queue, w.under, w.abort = rest, batch, abort
	return batch, ms, pause
}

// takes tells whether o, the next output of its lane, goes into the Write that is being put together. Nothing of a lane
// does after one that is left out.
func (w *writer) takes(o *output, now time.Time) bool {
	first, more := w.lanes[o.lane]
	if !more {
		w.lanes[o.lane] = o
		return !o.due.After(now)
	}
	if first == nil || first.due.After(now) {
		return false
	}
	if mixes(first, o) {
		w.lanes[o.lane] = nil
		return false
	}
	return true
}

// mixes tells whether an output has another key than an earlier one of its lane. A sink keeps the order of each key
// alone, so of the two in one Write it could store only the later one: they need two Writes.
func mixes(first, o *output) bool {
	m := &first.messages[0]
	other := func(x keystrand.Message) bool {
		return m.Key == nil || x.Key == nil || m.Stream != x.Stream || !bytes.Equal(m.Key, x.Key)
	}
	return slices.ContainsFunc(first.messages, other) || slices.ContainsFunc(o.messages, other)
}

// sort settles what is durable, asks the policy about what the sink refuses for good, and leaves the rest in front of
// the queue. It tells whether an output has failed by itself, not only because of one before it. A Write that was aborted
// has refused nothing, whatever it says: leaving is not failing.
func (w *writer) sort(batch []*output, ms []keystrand.Message, err error, aborted bool) (failed bool) {
	partial, _ := errors.AsType[*sink.PartialError](err)
	var again []*output
	i := 0
	for _, o := range batch {
		var rest []keystrand.Message
		var cause error   // of the first that is not durable
		permanent := true // the first is refused for good; those after it are, too, or stand behind it
		for range o.messages {
			e := err
			switch {
			case partial != nil && i < len(partial.Errs):
				e = readable(partial.Errs[i])
			case partial != nil:
				e = errNotJudged
			}
			if e != nil {
				rest = append(rest, ms[i])
				outcome, _ := keystrand.OutcomeOf(e)
				permanent = permanent && (outcome == keystrand.OutcomePermanent || cause != nil && errors.Is(e, sink.ErrBehind))
				if cause == nil {
					cause = e
				}
			}
			i++
		}
		switch {
		case cause == nil:
			w.durable(o)
			continue
		case permanent && !aborted && w.p.refused(o, cause):
			o.gone.Store(true)
			continue
		}
		o.messages = rest
		again = append(again, o)
		if !aborted && !errors.Is(cause, sink.ErrBehind) {
			failed = true
			o.pause()
		}
	}
	if !failed && !aborted && len(again) == len(batch) {
		again[0].pause() // all stand behind nothing: such a sink must not make it spin
	}
	w.putBack(again)
	for _, o := range batch {
		o.pt.gate.poke() // a message of several lanes may wait for it
	}
	return failed
}

// pause lets the output wait longer than the last time, and what is behind it in its lane.
func (o *output) pause() {
	o.wait = min(max(2*o.wait, firstPause), maxPause)
	o.due = time.Now().Add(o.wait)
}

// durable settles the message of an output that is stored.
func (w *writer) durable(o *output) {
	o.gone.Store(true)
	w.p.settleOutput(o)
	if o.letter {
		w.p.counts.deadLettered.Add(1)
	} else {
		w.p.counts.written.Add(1)
	}
	o.pt.sinking.Add(-1)
	o.pt.gate.poke()
	if o.mail != nil {
		o.mail.over.Store(true)
	}
}

// putBack leaves what is not durable in front of the queue, but for partitions that were cut meanwhile.
func (w *writer) putBack(again []*output) {
	w.mu.Lock()
	w.abort = nil
	var cut []*output
	front := make([]*output, 0, len(again)+len(w.queue))
	for _, o := range again {
		if o.pt.cut.Load() {
			cut = append(cut, o)
		} else {
			front = append(front, o)
		}
	}
	w.queue, w.under = append(front, w.queue...), nil
	w.mu.Unlock()
	for _, o := range cut {
		o.gone.Store(true)
		if !o.inLane {
			o.pt.dropped.Add(1)
		}
		o.pt.sinking.Add(-1)
		o.pt.gate.poke()
	}
}

func (p *Pipeline) settleOutput(o *output) {
	p.settle(o.pt, []int64{o.number}, o.size)
	if !o.inLane {
		o.pt.settled.Add(1)
	}
}

// outputsLocked gives all that are not durable yet.
func (w *writer) outputsLocked() iter.Seq[*output] {
	return func(yield func(*output) bool) {
		for _, all := range [2][]*output{w.under, w.queue} {
			for _, o := range all {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// refused asks the failure policy about a message whose output the sink will never take. false: it is tried again.
func (p *Pipeline) refused(o *output, cause error) bool {
	p.counts.failed.Add(1)
	action := p.decide(Failure{Message: &o.input, Err: cause, Permanent: true})
	switch {
	case action.kind == skip:
		p.counts.skipped.Add(1)
		p.settleOutput(o)
		o.pt.sinking.Add(-1)
		o.pt.gate.poke()
		if o.mail != nil {
			o.mail.over.Store(true)
		}
		return true
	case action.kind == deadLetter && !o.letter:
		p.letters.addOutput(action.letters, o, cause)
		o.pt.sinking.Add(-1)
		return true
	case action.kind == stop || action.kind == block || action.kind == deadLetter:
		// Block cannot hold a key whose later messages were handled already. A dead letter that is refused has nowhere
		// else to go.
		p.failed(newFailureError(&o.input, cause))
	}
	return false
}
