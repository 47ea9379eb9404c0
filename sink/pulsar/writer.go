package pulsar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/internal/waits"
)

// writer writes to all partitions concurrently, each through its own outlet.
//
// During a Write it owns a goroutine for each topic except one, and for each partition of a topic except one.
type writer struct {
	sink   *Sink
	closed bool
	names  map[string]string // full names of topics, by Message.Stream
	waits  waits.Waits[question]

	// State of the current Write.
	ms    []keystrand.Message
	out   []pulsar.ProducerMessage // ms as messages of the library
	parts map[string][]int         // indexes of the messages of each topic
	forms bool                     // the library may put messages of one key into several entries

	mu       sync.Mutex
	res      sink.Result        // guarded by mu
	branches map[string]*branch // topics ever written to; guarded by mu
	turn     int                // chooses the partition for messages without a key; guarded by mu
	run      int                // messages without a key until the next partition; guarded by mu
	held     bool               // the library may still read out, so it is not reused; guarded by mu
}

// branch has the outlets of the partitions of one topic. An outlet is nil until its first message.
type branch struct{ outlets []*outlet }

// keylessRun is the number of messages without a key that go to one partition before the next partition gets some. A run of
// them shares batches.
const keylessRun = 100

// Write implements [sink.Writer].
func (w *writer) Write(ctx context.Context, ms []keystrand.Message) error {
	if w.closed {
		return errors.New("pulsar: Write on a closed writer")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("pulsar: %d messages not written: %w", len(ms), context.Cause(ctx))
	}
	w.begin(ms)
	defer w.forget()
	w.waits.Begin()
	defer w.waits.End()
	var wg sync.WaitGroup
	n := len(w.parts)
	for name, batch := range w.parts {
		if n--; n == 0 {
			w.writeTopic(ctx, name, batch)
		} else {
			wg.Go(func() { w.writeTopic(ctx, name, batch) })
		}
	}
	wg.Wait()
	return w.res.Err()
}

// Close closes the writer. Its producers close in the background; [Sink.Close] waits for them.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("pulsar: close the writer: it is already closed")
	}
	w.closed = true
	for _, b := range w.branches {
		for _, o := range b.outlets {
			if o != nil {
				o.shut()
			}
		}
	}
	w.branches = nil
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.writers = slices.DeleteFunc(w.sink.writers, func(x *writer) bool { return x == w })
	w.sink.open.Add(-1)
	return nil
}

// begin starts a Write. It fails the messages that can never be written, and groups the others by topic.
func (w *writer) begin(ms []keystrand.Message) {
	w.ms, w.res, w.run, w.forms = ms, sink.NewResult(ms), 0, false
	w.out = slices.Grow(w.out[:0], len(ms))[:len(ms)]
	for i := range ms {
		if w.res.Behind(i) {
			continue
		}
		name := w.topicOf(&ms[i])
		if err := w.admit(i, name); err != nil {
			w.res.Fail(i, keystrand.Permanent(fmt.Errorf("pulsar: %s: %w", w.nameOf(&ms[i]), err)))
			continue
		}
		w.parts[name] = append(w.parts[name], i)
		w.forms = w.forms || w.out[i].OrderingKey != "" || w.out[i].Key != string(ms[i].Key)
	}
}

// admit returns an error if message i can never be written.
func (w *writer) admit(i int, topic string) error {
	if w.sink.topic == "" && w.parts[topic] == nil {
		if topic == "" {
			return errors.New("Config.ByStream is set, and the Stream of the message is empty")
		}
		if err := pulsarname.CheckTopic(topic); err != nil {
			return destinationError{err}
		}
	}
	return fillMessage(&w.out[i], &w.ms[i], &w.sink.cfg)
}

// nameOf names a message and its origin, if it has one.
func (w *writer) nameOf(m *keystrand.Message) string {
	if w.sink.topic == "" || m.Stream == "" {
		return fmt.Sprintf("message for topic %q", w.topicOf(m))
	}
	return fmt.Sprintf("message %s/%d@%d for topic %q", m.Stream, m.Partition, m.Offset, w.sink.topic)
}

// topicOf returns the full name of the topic of a message, or its Stream if that is malformed.
func (w *writer) topicOf(m *keystrand.Message) string {
	if t := w.sink.topic; t != "" {
		return t
	}
	name, known := w.names[m.Stream]
	switch {
	case known:
		return name
	case pulsarname.CheckTopic(m.Stream) != nil:
		return m.Stream
	}
	name = pulsarname.Full(m.Stream)
	w.names[m.Stream] = name
	return name
}

// writeTopic writes the messages of one topic.
func (w *writer) writeTopic(ctx context.Context, name string, batch []int) {
	t, err := w.lookUp(ctx, name)
	if err != nil {
		w.failAll(batch, err, cureFor(err))
		return
	}
	var wg sync.WaitGroup
	active := w.spread(t, batch)
	for n, o := range active {
		if n == len(active)-1 {
			o.run(ctx, w)
		} else {
			wg.Go(func() { o.run(ctx, w) })
		}
	}
	wg.Wait()
}

// lookUp returns the topic. It retries transient errors.
func (w *writer) lookUp(ctx context.Context, name string) (*topic, error) {
	p := newPatience(ctx, w.sink.cfg.HealTimeout)
	defer p.end()
	looking := question{name, lacksPartitions}
	defer w.waits.Answered(looking)
	for {
		w.waits.Sending(looking)
		t, err := w.sink.catalog.get(p.ctx, name) //nolint:contextcheck // derived from ctx, by newPatience
		if err == nil {
			return t, nil
		}
		err = w.sink.describe(name, p.began, err)
		w.waits.Set(err)
		if cureFor(err) != heal {
			return nil, err
		}
		if over := p.pause(); over != nil {
			return nil, because(over, err)
		}
	}
}

// spread adds the messages to the outlets of their partitions and returns the outlets that have messages.
func (w *writer) spread(t *topic, batch []int) (active []*outlet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.branches[t.name]
	if b == nil {
		b = &branch{}
		w.branches[t.name] = b
	}
	for len(b.outlets) < len(t.partitions) {
		b.outlets = append(b.outlets, nil)
	}
	for _, o := range b.outlets[len(t.partitions):] { // a recreated topic may have fewer partitions
		if o != nil {
			o.shut()
		}
	}
	b.outlets = b.outlets[:len(t.partitions)]
	for _, i := range batch {
		p, err := w.partitionLocked(t, b, w.keyOf(i))
		if err != nil {
			w.res.Fail(i, keystrand.Permanent(err))
			continue
		}
		o := b.outlets[p]
		if o == nil || o.name != t.partitions[p] { // a recreated topic may have other partitions
			if o != nil {
				o.shut()
			}
			o = &outlet{sink: w.sink, topic: t.name, name: t.partitions[p]}
			b.outlets[p] = o
		}
		if len(o.queue) == 0 {
			active = append(active, o)
		}
		o.queue = append(o.queue, i)
	}
	return active
}

// keyOf returns the key by which message i chooses its partition, nil if it has none. A key that is sent as bytes counts as
// base64, as in the Java client.
func (w *writer) keyOf(i int) []byte {
	if k := w.ms[i].Key; string(k) == w.out[i].Key {
		return k
	}
	return []byte(w.out[i].Key)
}

// partitionLocked returns the partition for a key. Messages without a key go to partitions whose last wave did not fail, in
// turns.
func (w *writer) partitionLocked(t *topic, b *branch, key []byte) (int, error) {
	n := len(t.partitions)
	if key != nil {
		p := w.sink.cfg.Partitioner(key, n)
		if p < 0 || p >= n {
			return 0, fmt.Errorf("pulsar: Config.Partitioner returned partition %d, but topic %s has %d partitions", p, t.name, n)
		}
		return p, nil
	}
	if w.run == 0 {
		w.run = keylessRun
		w.turn++
		for range n {
			if o := b.outlets[w.turn%n]; o == nil || o.trouble == nil {
				break
			}
			w.turn++
		}
	}
	w.run--
	return w.turn % n, nil
}

// failAll records err for the messages that have not failed yet.
func (w *writer) failAll(batch []int, err error, c cure) {
	if c == forbid {
		err = keystrand.Permanent(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range batch {
		if !w.res.Failed(i) {
			w.res.Fail(i, err)
		}
	}
}

// forget drops the references to the messages.
func (w *writer) forget() {
	clear(w.parts)
	if w.held {
		w.out, w.held = nil, false
	}
	clear(w.out)
	w.ms, w.res = nil, sink.Result{}
}

// because returns the last error, if there is one, with the cause for which it is not retried any more.
func because(cause, last error) error {
	if last == nil {
		return cause
	}
	return fmt.Errorf("%w (%w)", last, cause)
}
