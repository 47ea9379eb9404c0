package pipeline

import (
	"bytes"
	"context"
	"errors"
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

// writer writes outputs in the order in which they were added, with one Write in flight. What a Write did not make
// durable is written again, before anything else, after a pause that grows from 50 ms to 5 s.
//
// Owns one goroutine, from start to close.
type writer struct {
	p    *Pipeline
	sink sink.Writer
	wake chan struct{} // room for one: there is something to do
	stop chan struct{} // closed by close
	done chan struct{} // closed when the goroutine ends

	mu    sync.Mutex
	queue []*output          // guarded by mu
	added int64              // how many outputs it has been given; guarded by mu
	taken int                // the first so many of queue are in the Write under way; guarded by mu
	abort context.CancelFunc // ends the Write under way; guarded by mu

	lanes map[outputLane]*output // the first output of each lane in the Write that is put together; guarded by mu
}

// outputLane is the lane of an output, as far as its hash tells: lanes that share one are treated as one.
type outputLane struct {
	pt   *partition
	hash uint16
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
		w.added++
		o.seq = w.added
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
	dropped, left, under := int64(0), int64(0), false
	keep := w.queue[:w.taken]
	for i, o := range w.queue {
		switch {
		case i < w.taken:
			under = under || o.pt == pt
		case o.pt == pt:
			dropped++
			if !o.inLane {
				left++
			}
		default:
			keep = append(keep, o)
		}
	}
	clear(w.queue[len(keep):])
	w.queue = keep
	if under && w.abort != nil {
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
	defer close(w.done)
	wait := time.Duration(0)
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
		}
		for w.writeOnce(&wait) {
			select {
			case <-w.stop:
				return
			default:
			}
		}
	}
}

// writeOnce writes a batch, and settles what is durable. It returns whether there is more to do.
func (w *writer) writeOnce(wait *time.Duration) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batch, ms := w.take(cancel)
	if len(batch) == 0 {
		return false
	}
	err := w.sink.Write(ctx, ms)
	aborted := ctx.Err() != nil
	if refused := w.sort(batch, ms, err); refused == 0 || aborted {
		*wait = 0
		return true
	}
	first := *wait == 0
	*wait = min(max(2**wait, 50*time.Millisecond), 5*time.Second)
	if first {
		w.p.log.LogAttrs(ctx, slog.LevelWarn, "a write failed: it is tried again until it is stored", slog.Any("error", err))
	}
	w.pause(*wait)
	return true
}

// take returns the outputs of the next Write and their messages.
func (w *writer) take(abort context.CancelFunc) (batch []*output, ms []keystrand.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := 0
	clear(w.lanes)
	for _, o := range w.queue {
		if len(ms) > 0 && (len(ms)+len(o.messages) > writeMessages || size > writeBytes || w.mixes(o)) {
			break
		}
		for i := range o.messages {
			size += o.messages[i].Size()
		}
		ms = append(ms, o.messages...)
		w.taken++
	}
	w.abort = abort
	return append([]*output(nil), w.queue[:w.taken]...), ms
}

// mixes tells whether o would stand in one Write with an earlier output of its lane that has another key. A sink keeps
// the order of each key alone, so it could store o and not the earlier one: they need two Writes.
func (w *writer) mixes(o *output) bool {
	lane := outputLane{o.pt, o.lane}
	first, ok := w.lanes[lane]
	if !ok {
		w.lanes[lane] = o
		return false
	}
	m := &first.messages[0]
	other := func(x keystrand.Message) bool {
		return m.Key == nil || x.Key == nil || m.Stream != x.Stream || !bytes.Equal(m.Key, x.Key)
	}
	return slices.ContainsFunc(first.messages, other) || slices.ContainsFunc(o.messages, other)
}

// sort settles what is durable, asks the policy about what the sink refuses for good, and leaves the rest in front of
// the queue. It returns how many outputs are left because they failed themselves: those behind one that the sink has
// refused for good need no pause.
func (w *writer) sort(batch []*output, ms []keystrand.Message, err error) (left int) {
	partial, _ := errors.AsType[*sink.PartialError](err)
	var again []*output
	i := 0
	for _, o := range batch {
		var rest []keystrand.Message
		var cause error   // of the first that is not durable
		permanent := true // so are all of them
		for range o.messages {
			e := err
			if partial != nil && i < len(partial.Errs) {
				e = partial.Errs[i]
			}
			if e != nil {
				rest = append(rest, ms[i])
				if cause == nil {
					cause = e
				}
				outcome, _ := keystrand.OutcomeOf(e)
				permanent = permanent && outcome == keystrand.Forbidden
			}
			i++
		}
		switch {
		case cause == nil:
			w.durable(o)
		case permanent && w.p.refused(o, cause):
		default:
			if !errors.Is(cause, sink.ErrBehind) {
				left++
			}
			o.messages = rest
			again = append(again, o)
		}
	}
	w.putBack(again)
	for _, o := range batch {
		o.pt.gate.poke() // a message of several lanes may wait for it
	}
	return left
}

// durable settles the message of an output that is stored.
func (w *writer) durable(o *output) {
	w.p.settleOutput(o)
	if o.durable == nil {
		w.p.counts.written.Add(1)
	}
	o.pt.sinking.Add(-1)
	o.pt.gate.poke()
	if o.durable != nil {
		o.durable()
	}
}

// putBack leaves what is not durable in front of the queue, but for partitions that were cut meanwhile.
func (w *writer) putBack(again []*output) {
	w.mu.Lock()
	w.abort = nil
	var cut []*output
	front := make([]*output, 0, len(again)+len(w.queue)-w.taken)
	for _, o := range again {
		if o.pt.cut.Load() {
			cut = append(cut, o)
		} else {
			front = append(front, o)
		}
	}
	w.queue, w.taken = append(front, w.queue[w.taken:]...), 0
	w.mu.Unlock()
	for _, o := range cut {
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

func (w *writer) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.stop:
	case <-t.C:
	}
}

// refused asks the failure policy about a message whose output the sink will never take. false: it is tried again.
func (p *Pipeline) refused(o *output, cause error) bool {
	settle := func() {
		p.settleOutput(o)
		o.pt.sinking.Add(-1)
		o.pt.gate.poke()
		if o.durable != nil {
			o.durable()
		}
	}
	p.counts.failed.Add(1)
	action := p.decide(Failure{Message: &o.input, Err: cause, Permanent: true})
	switch {
	case action.kind == skip:
		p.counts.skipped.Add(1)
		settle()
		return true
	case action.kind == deadLetter && o.durable == nil:
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
