package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// outlet writes the messages of one writer to one partition. It sends a wave only when the previous one is durable.
type outlet struct {
	sink  *Sink
	topic string // name of the topic
	name  string // name of the partition

	link link

	// State of the current Write.
	queue []int // indexes of the messages, in order
	head  int   // the messages before queue[head] are durable or have failed
	batch []int // the messages of the wave
	end   int   // the value of head when the wave is durable
	limit int   // maximum number of messages in a wave while searching for a refused message; 0: no limit
	wave  *wave
	group groups

	trouble error // the last error; nil after a durable wave
}

// run writes the queued messages. It returns when all are durable or have failed.
func (o *outlet) run(ctx context.Context, w *writer) {
	for o.advance(ctx, w) {
	}
	o.queue, o.batch, o.head, o.end, o.limit = o.queue[:0], o.batch[:0], 0, 0, 0
}

// advance sends waves until some messages are durable or have failed. It returns false if no message is left.
func (o *outlet) advance(ctx context.Context, w *writer) bool {
	p := newPatience(ctx, o.sink.cfg.HealTimeout)
	defer p.end()
	for o.fill(w) {
		before := o.head
		err := o.send(p.ctx, w) //nolint:contextcheck // derived from ctx, by newPatience
		if err == nil {
			if o.trouble != nil {
				o.sink.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "pulsar: write to partition recovered", slog.String("topic", o.name))
			}
			o.trouble, o.limit = nil, 0
			w.waits.Set(nil)
			return true
		}
		if over := context.Cause(p.ctx); over != nil { //nolint:contextcheck // derived from ctx, by newPatience
			if errors.Is(err, over) {
				over = err // err also names the operation
			}
			last := o.trouble
			if ctx.Err() == nil && last == nil { // else the text of the error would grow with each Write
				over = w.sink.describe(o.name, p.began, over)
				o.tell(ctx, w, over)
			}
			o.giveUp(w, because(over, last), heal)
			return false
		}
		err = w.sink.describe(o.name, p.began, err)
		switch c := cureFor(err); c {
		case split:
			o.limit = (len(o.batch) + 1) / 2
		case report, forbid:
			o.tell(ctx, w, err)
			o.sink.catalog.doubt(o.topic) // the topic may have been recreated with other partitions
			o.giveUp(w, err, c)
			return false
		case heal:
			o.tell(ctx, w, err)
			if o.head > before {
				return true
			}
			if over := p.pause(); over != nil {
				o.giveUp(w, because(over, err), heal)
				return false
			}
		}
	}
	return false
}

// fill chooses the next wave and reports whether there is one.
func (o *outlet) fill(w *writer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o.batch, o.end = o.batch[:0], o.head
	o.group.begin()
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
		if w.forms && o.group.splits(&w.ms[i], &w.out[i]) {
			break
		}
		size += n
		o.batch = append(o.batch, i)
	}
	return len(o.batch) > 0
}

// send sends the wave and handles the answers. If it returns an error, the messages to write again start at head, and the
// producer that could still send them is closed or closing.
func (o *outlet) send(ctx context.Context, w *writer) error {
	opening := question{o.name, lacksProducer}
	w.waits.Sending(opening)
	p, err := o.link.get(ctx, o.sink, o.name)
	w.waits.Answered(opening)
	if err != nil {
		return err
	}
	if o.wave == nil {
		o.wave = newWave()
	}
	confirmation := question{o.name, lacksConfirmation}
	w.waits.Sending(confirmation)
	defer w.waits.Answered(confirmation)
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

// offer passes the messages of the wave to the library.
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

// spoiled reports whether the library found a batch too large when it built it. The library (v0.19.0) then drops the other
// batches without calling back.
func (o *outlet) spoiled() bool {
	for n := range o.batch {
		if n >= o.wave.used || o.wave.slots[n].refused { // refused before the batch was built
			continue
		}
		if answered, err := o.wave.outcome(n); answered && err != nil && isExceeded(err) {
			return true
		}
	}
	return false
}

// take handles the answers. Messages that are not durable go back to the queue in order. So do durable messages behind a
// message of their key that is not durable.
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
		key := func() string { return m.Stream + "\x00" + string(m.Key) } // called only after a failure
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

// tell records an error, and logs the first one.
func (o *outlet) tell(ctx context.Context, w *writer, err error) {
	w.waits.Set(err)
	if o.trouble == nil {
		o.sink.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: write to partition failed",
			slog.String("topic", o.name), slog.String("error", err.Error()))
	}
	o.trouble = err
}

// giveUp records err for all remaining messages.
func (o *outlet) giveUp(w *writer, err error, c cure) {
	w.failAll(o.queue[o.head:], err, c)
	o.head = len(o.queue)
}

// shut closes the producer, in the background.
func (o *outlet) shut() { o.link.drop(o.sink) }

func describeOne(name string, err error) error {
	return fmt.Errorf("pulsar: write to %s: %w", name, err)
}

// behind reports whether an earlier message of the key of message i has failed.
func (w *writer) behind(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.res.Behind(i)
}

// hold records that the library may still read the messages after the Write.
func (w *writer) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
}
