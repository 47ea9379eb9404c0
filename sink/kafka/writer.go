package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// writer writes in rounds: in each, every partition with something left sends its next batch, all those of one leader in
// one request, the leaders at the same time. A partition whose batch failed sends that one again before anything later.
type writer struct {
	sink   *Sink
	closed bool
	turn   int // the next partition for a message without a key

	// Of the Write that runs.
	ms       []keystrand.Message
	values   map[int][]byte // bytes forms of native messages
	res      sink.Result
	unrouted map[string]*backlog // topics of which nothing is known yet
	since    time.Time           // what is known of topics must be as new as this
	shards   map[shardID]*shard  // all partitions ever written to; used again
	active   []*shard            // those with messages of this Write
	requests []*request
	wait     *backoff.ExponentialBackOff // nil until something had to be healed
	healBy   time.Time                   // set with wait
}

// backlog is what waits to hear of a topic.
type backlog struct {
	batch []int
	err   error // why nothing is known
}

// Write makes the messages durable, see [sink.Writer].
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

// Close gives up the writer.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("kafka: writer closed twice")
	}
	w.closed = true
	w.sink.open.Add(-1)
	return nil
}

// begin takes the messages in: those that can never be written are refused, the others wait for their topic.
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

// admit tells why message i can never be written.
func (w *writer) admit(i int) error {
	m := &w.ms[i]
	if w.topicOf(m) == "" {
		return errors.New("kafka: message names no topic: its Stream is empty, and the sink has Config.ByStream")
	}
	if m.Value == nil && m.Native != nil {
		v, err := m.Native.AppendValue(nil)
		if err != nil {
			return fmt.Errorf("kafka: bytes of the native value for topic %s: %w", w.topicOf(m), err)
		}
		if w.values == nil {
			w.values = make(map[int][]byte)
		}
		w.values[i] = v
	}
	if n, _ := recordSize(m, w.values[i]); batchOverhead+n > w.sink.cfg.MaxBatchBytes {
		return fmt.Errorf("kafka: message for topic %s: %w: %d bytes are more than MaxBatchBytes, %d",
			w.topicOf(m), kafka.MessageSizeTooLarge, batchOverhead+n, w.sink.cfg.MaxBatchBytes)
	}
	return nil
}

func (w *writer) topicOf(m *keystrand.Message) string {
	if t := w.sink.topic; t != "" {
		return t
	}
	return m.Stream
}

// forget lets the messages go.
func (w *writer) forget() {
	for _, s := range w.active {
		s.reset()
	}
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

// describe says what could not be written. A negative partition stands for the whole topic.
func (w *writer) describe(topic string, partition int32, err error) error {
	switch cfg := &w.sink.cfg; {
	case cfg.SASL != nil && loginFailed(err):
		err = fmt.Errorf("log in with %s: %w", cfg.SASL.Name(), err)
	case cfg.SASL != nil && errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w (the broker hung up: does it take %s, and this user?)", err, cfg.SASL.Name())
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w (the broker hung up: does it want TLS or SASL?)", err)
	}
	if partition < 0 {
		return fmt.Errorf("kafka: write to topic %s: %w", topic, err)
	}
	return fmt.Errorf("kafka: write to %s/%d: %w", topic, partition, err)
}

func because(err, last error) error {
	if last == nil {
		return err
	}
	return fmt.Errorf("%w; last trouble: %w", err, last)
}
