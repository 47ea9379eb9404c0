package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// outlet is one writer's way to one partition. Nothing leaves it behind a wave that is not durable.
type outlet struct {
	sink  *Sink
	topic string // as it was asked for
	name  string // the partition's own topic

	link link

	// Of the Write that runs.
	queue []int // messages in order
	head  int   // before it all are durable or have failed
	batch []int // the wave's
	end   int   // head once that is durable
	limit int   // most messages of a wave while a culprit is searched; 0 for no bound
	wave  *wave

	trouble error // the last, nil when the last wave was durable
}

// run writes what is queued, as far as it can.
func (o *outlet) run(ctx context.Context, w *writer) {
	for o.advance(ctx, w) {
	}
	o.queue, o.batch, o.head, o.end, o.limit = o.queue[:0], o.batch[:0], 0, 0, 0
}

// advance goes on until something has become durable, or failed for good. It returns false if there is no more to do.
func (o *outlet) advance(ctx context.Context, w *writer) bool {
	p := newPatience(ctx, o.sink.cfg.HealTimeout)
	defer p.end()
	for o.fill(w) {
		before := o.head
		err := o.send(p.ctx, w) //nolint:contextcheck // derived from ctx, by newPatience
		if err == nil {
			if o.trouble != nil {
				o.sink.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "partition is written again", slog.String("topic", o.name))
			}
			o.trouble, o.limit = nil, 0
			return true
		}
		if over := context.Cause(p.ctx); over != nil { //nolint:contextcheck // derived from ctx, by newPatience
			if errors.Is(err, over) {
				over = err // and what was waited for
			}
			last := o.trouble
			over = w.describe(o.name, p.began, over)
			if ctx.Err() == nil && last == nil { // else the error would grow with each Write
				o.tell(ctx, over)
			}
			o.giveUp(w, because(over, last), heal)
			return false
		}
		err = w.describe(o.name, p.began, err)
		switch c := cureFor(err); c {
		case split:
			o.limit = (len(o.batch) + 1) / 2
		case report, forbid:
			o.tell(ctx, err)
			o.sink.catalog.doubt(o.topic) // it may have been made again with other partitions
			o.giveUp(w, err, c)
			return false
		case heal:
			o.tell(ctx, err)
			if o.head > before {
				return true
			}
			if over := p.pause(); over != nil {
				o.giveUp(w, because(describeOne(o.name, over), err), heal)
				return false
			}
		}
	}
	return false
}

// fill chooses the next wave and returns false if there is none.
func (o *outlet) fill(w *writer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.batch, o.end = o.batch[:0], o.head
	limit, size := maxWave, 0
	if o.limit > 0 {
		limit = o.limit
	}
	for ; o.end < len(o.queue); o.end++ {
		i := o.queue[o.end]
		if w.res.Failed(i) || w.res.Behind(i) {
			continue
		}
		n := sizeOf(&w.out[i])
		if len(o.batch) > 0 && (size+n > o.sink.cfg.MaxBatchBytes || len(o.batch) == limit) {
			break
		}
		size += n
		o.batch = append(o.batch, i)
	}
	return len(o.batch) > 0
}

// send sends the wave and takes the answers in. If it returns an error, the messages to be written again stand at head,
// and there is no producer any more that could still send them.
func (o *outlet) send(ctx context.Context, w *writer) error {
	p, err := o.link.get(ctx, o.sink, o.name)
	if err != nil {
		return err
	}
	if o.wave == nil {
		o.wave = newWave()
	}
	o.wave.begin()
	err = o.offer(ctx, w, p)
	if err == nil {
		err = flush(ctx, p)
	}
	if complete := o.wave.sent(); !complete && err == nil && !o.spoiled() {
		select {
		case <-o.wave.all:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return o.take(w, err)
}

// offer gives the wave's messages to the library.
func (o *outlet) offer(ctx context.Context, w *writer, p producer) error {
	refused := false
	for _, i := range o.batch {
		s := o.wave.add()
		if refused && w.behind(i) {
			s.callback(nil, nil, errNotSent)
			s.refused = true
			continue
		}
		if err := sendAsync(ctx, p, &w.out[i], s.callback); err != nil {
			return err
		}
		n := o.wave.used - 1
		if answered, err := o.wave.outcome(n); answered && err != nil {
			if cureFor(err) != split {
				return err
			}
			s.refused, refused = true, true
			w.failAll([]int{i}, describeOne(o.name, err), forbid)
		}
	}
	return nil
}

// spoiled tells whether a batch was found too large when it was put together: the library (v0.19.0) then drops the other
// batches without a word.
func (o *outlet) spoiled() bool {
	for n := range o.batch {
		if n >= o.wave.used || o.wave.slots[n].refused { // that was before there was a batch
			continue
		}
		if answered, err := o.wave.outcome(n); answered && err != nil && isExceeded(err) {
			return true
		}
	}
	return false
}

// take reads the answers. What is not durable goes back to the queue in order; with it what is, but stands behind a
// message of its key that is not.
func (o *outlet) take(w *writer, err error) error {
	var again []int
	failed := make(map[string]bool)
	complete := true
	for n, i := range o.batch {
		answered, aerr := false, error(nil)
		if n < o.wave.used {
			answered, aerr = o.wave.outcome(n)
			complete = complete && answered
			if o.wave.slots[n].refused {
				continue
			}
		}
		m := &w.ms[i]
		key := func() string { return m.Stream + "\x00" + string(m.Key) } // made when something has failed, not for every message
		switch {
		case answered && aerr == nil && (len(failed) == 0 || m.Key == nil || !failed[key()]):
			continue
		case answered && aerr != nil && cureFor(aerr) == split && len(o.batch) == 1:
			w.failAll([]int{i}, describeOne(o.name, aerr), forbid)
			continue
		case aerr != nil && (err == nil || cureFor(aerr) != heal):
			err = aerr
			failed[key()] = true
		default:
			failed[key()] = true
		}
		again = append(again, i)
	}
	if !complete {
		o.wave = nil
		w.hold()
	}
	if len(again) == 0 {
		o.head = o.end
		return nil
	}
	o.link.drop(o.sink)
	o.head = o.end - len(again)
	copy(o.queue[o.head:], again)
	if err == nil {
		err = errNoAnswer
	}
	return err
}

// tell notes a trouble, and logs it when it begins.
func (o *outlet) tell(ctx context.Context, err error) {
	if o.trouble == nil {
		o.sink.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "partition cannot be written",
			slog.String("topic", o.name), slog.String("error", err.Error()))
	}
	o.trouble = err
}

// giveUp reports all that is left.
func (o *outlet) giveUp(w *writer, err error, c cure) {
	w.failAll(o.queue[o.head:], err, c)
	o.head = len(o.queue)
}

// shut closes the producer in the background.
func (o *outlet) shut() { o.link.drop(o.sink) }

func describeOne(name string, err error) error {
	return fmt.Errorf("pulsar: write to %s: %w", name, err)
}

// behind tells whether message i stands behind one of its key that has failed.
func (w *writer) behind(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.res.Behind(i)
}

// hold says that the library may go on reading the messages.
func (w *writer) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
}
