package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/internal/waits"
)

// writer writes in rounds. In each round, every partition with pending messages sends one batch. The batches for one leader
// share a request, and the requests run concurrently. A failed batch is sent again before any later one of its partition.
type writer struct {
	sink   *Sink
	closed bool
	waits  waits.Waits[int32] // by the leader
	turn   int                // chooses the partition of the next message without a key

	// State of the current Write.
	ms       []keystrand.Message
	values   map[int][]byte // encoded values of messages with a Native
	res      sink.Result
	unrouted map[string]*backlog // messages of topics without metadata
	since    time.Time           // older metadata is not used
	shards   map[shardID]*shard  // all partitions ever written to; reused
	active   []*shard            // partitions with messages of this Write
	requests []*request
	wait     *backoff.ExponentialBackOff // nil until the first transient error
	healBy   time.Time                   // when HealTimeout is over; set with wait
}

// backlog holds messages that wait for the metadata of a topic.
type backlog struct {
	batch []int
	err   error // why there is no metadata
}

// Write implements [sink.Writer].
func (w *writer) Write(ctx context.Context, ms []keystrand.Message) error {
	if w.closed {
		return errors.New("kafka: Write on a closed writer")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("kafka: %d messages not written: %w", len(ms), context.Cause(ctx))
	}
	w.begin(ms)
	defer w.forget()
	for w.pending() {
		healthy := w.route(ctx)
		healthy = w.round(ctx) && healthy
		if healthy && ctx.Err() == nil {
			continue
		}
		if err := w.pause(ctx); err != nil {
			w.abandon(err)
			break
		}
	}
	return w.res.Err()
}

// Close closes the writer.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("kafka: close the writer: it is already closed")
	}
	w.closed = true
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.writers = slices.DeleteFunc(w.sink.writers, func(x *writer) bool { return x == w })
	w.sink.open.Add(-1)
	return nil
}

// begin starts a Write. It fails the messages that can never be written, and adds the others to the backlog of their topic.
func (w *writer) begin(ms []keystrand.Message) {
	w.ms, w.res = ms, sink.NewResult(ms)
	w.since = time.Now().Add(-w.sink.cfg.MetadataMaxAge)
	if w.unrouted == nil {
		w.unrouted = make(map[string]*backlog)
	}
	for i := range ms {
		if w.res.Behind(i) {
			continue
		}
		if err := w.admit(i); err != nil {
			w.res.Fail(i, keystrand.Permanent(err))
			continue
		}
		name := w.topicOf(&ms[i])
		b := w.unrouted[name]
		if b == nil {
			b = &backlog{}
			w.unrouted[name] = b
		}
		b.batch = append(b.batch, i)
	}
}

// admit returns an error if message i can never be written.
func (w *writer) admit(i int) error {
	m := &w.ms[i]
	if w.topicOf(m) == "" {
		return errors.New("kafka: message has no topic: Config.ByStream is set, and its Stream is empty")
	}
	if w.sink.topic == "" && w.unrouted[m.Stream] == nil {
		if err := checkName(m.Stream); err != nil {
			return errors.Join(fmt.Errorf("kafka: %w", err), sink.ErrDestination)
		}
	}
	if err := checkTime(m.Time); err != nil {
		return fmt.Errorf("kafka: %s: %w", w.nameOf(m), err)
	}
	if m.Value == nil && m.Native != nil {
		v, err := m.Native.AppendValue(nil)
		if err != nil {
			return fmt.Errorf("kafka: %s: encode the native value: %w", w.nameOf(m), err)
		}
		if w.values == nil {
			w.values = make(map[int][]byte)
		}
		w.values[i] = v
	}
	if n, _ := recordSize(m, w.values[i]); batchOverhead+n > w.sink.cfg.MaxBatchBytes {
		return fmt.Errorf("kafka: %s: %w: %d bytes exceed Config.MaxBatchBytes (%d)",
			w.nameOf(m), kafka.MessageSizeTooLarge, batchOverhead+n, w.sink.cfg.MaxBatchBytes)
	}
	return nil
}

// nameOf names a message and its origin, if it has one.
func (w *writer) nameOf(m *keystrand.Message) string {
	if w.sink.topic == "" || m.Stream == "" {
		return "message for topic " + w.topicOf(m)
	}
	return fmt.Sprintf("message %s/%d@%d for topic %s", m.Stream, m.Partition, m.Offset, w.sink.topic)
}

func (w *writer) topicOf(m *keystrand.Message) string {
	if t := w.sink.topic; t != "" {
		return t
	}
	return m.Stream
}

// forget drops the references to the messages.
func (w *writer) forget() {
	for _, s := range w.active {
		s.reset()
	}
	w.waits.Set(nil)
	clear(w.values)
	clear(w.unrouted)
	w.ms, w.res, w.active, w.wait = nil, sink.Result{}, w.active[:0], nil
}

func (w *writer) pending() bool {
	if len(w.unrouted) > 0 {
		return true
	}
	for _, s := range w.active {
		if s.pending() {
			return true
		}
	}
	return false
}

// because returns the last error, if there is one, with the cause for which it is not retried any more.
func (w *writer) because(topic string, partition int32, cause, last error) error {
	if last == nil {
		return describe(&w.sink.cfg, topic, partition, cause)
	}
	return fmt.Errorf("%w (%w)", last, cause)
}
