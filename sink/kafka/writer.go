package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
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
	limit := w.sink.cfg.WriteTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not written within %v", limit))
	defer cancel()
	w.begin(ms)
	defer w.forget()
	for w.pending() {
		healthy := w.route(ctx)
		healthy = w.round(ctx) && healthy
		if ctx.Err() != nil || !healthy && !w.pause(ctx) {
			w.abandon(context.Cause(ctx))
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
		return errors.New("kafka: message names no topic: its Stream is empty and the sink has no topic of its own")
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

// route learns what is needed about topics and gives the messages that wait for it to their partitions. It returns false
// if something has to be healed.
func (w *writer) route(ctx context.Context) (healthy bool) {
	var ask []string
	for name := range w.unrouted {
		if t := w.sink.cluster.known(name, w.since); t != nil {
			w.spread(t)
			continue
		}
		ask = append(ask, name)
	}
	for _, s := range w.active {
		if !s.pending() {
			continue
		}
		if t := w.sink.cluster.known(s.topic, w.since); t != nil {
			s.follow(t)
		} else {
			ask = appendNew(ask, s.topic)
		}
	}
	if len(ask) == 0 {
		return true
	}
	good, bad, err := w.sink.cluster.ask(ctx, ask)
	if err != nil {
		return w.blame(ask, func(string) error { return err })
	}
	for _, t := range good {
		w.spread(t)
	}
	for _, s := range w.active {
		if t := good[s.topic]; t != nil {
			s.follow(t)
		}
	}
	names := make([]string, 0, len(bad))
	for name := range bad {
		names = append(names, name)
	}
	return w.blame(names, func(name string) error { return bad[name] })
}

// spread gives the messages that wait for a topic to its partitions.
func (w *writer) spread(t *topic) {
	b := w.unrouted[t.name]
	if b == nil {
		return
	}
	delete(w.unrouted, t.name)
	for _, i := range b.batch {
		p, err := w.partition(t, w.ms[i].Key)
		if err != nil {
			w.res.Fail(i, keystrand.Permanent(err))
			continue
		}
		w.shardFor(t, p).add(i)
	}
}

// partition chooses: with a key among all, without one among those that can be written now.
func (w *writer) partition(t *topic, key []byte) (int32, error) {
	if key != nil {
		p := w.sink.cfg.Partitioner(key, len(t.leaders))
		if p < 0 || p >= len(t.leaders) {
			return 0, fmt.Errorf("kafka: Partitioner chose %d of the %d partitions of %s", p, len(t.leaders), t.name)
		}
		return int32(p), nil
	}
	w.turn++
	if n := len(t.available); n > 0 {
		return t.available[w.turn%n], nil
	}
	return int32(w.turn % len(t.leaders)), nil
}

func (w *writer) shardFor(t *topic, p int32) *shard {
	id := shardID{t.name, p}
	s := w.shards[id]
	if s == nil {
		s = &shard{shardID: id}
		w.shards[id] = s
	}
	if !s.active {
		s.active = true
		w.active = append(w.active, s)
	}
	s.follow(t)
	return s
}

// blame notes why topics are not known. What waits for them goes on waiting if that passes, else it fails.
func (w *writer) blame(names []string, cause func(string) error) (healthy bool) {
	healthy = true
	for _, name := range names {
		err := cause(name)
		c := cureFor(err)
		if b := w.unrouted[name]; b != nil {
			b.err = w.describe(name, -1, err)
			if c != heal {
				delete(w.unrouted, name)
				w.failAll(b.batch, b.err, c)
			}
		}
		for _, s := range w.active {
			if s.topic == name && s.pending() {
				s.err = w.describe(name, s.partition, err)
				if c != heal {
					w.failAll(s.rest(), s.err, c)
					s.drop()
				}
			}
		}
		if c == heal {
			healthy = false
		}
	}
	return healthy
}

// round sends one batch of each partition and takes the answers in. It returns false if something has to be healed.
func (w *writer) round(ctx context.Context) (healthy bool) {
	healthy = w.gather()
	if len(w.requests) == 1 {
		w.requests[0].send(ctx, w.sink)
	} else {
		var wg sync.WaitGroup
		for _, q := range w.requests {
			wg.Go(func() { q.send(ctx, w.sink) })
		}
		wg.Wait()
	}
	for _, q := range w.requests {
		for _, s := range q.shards {
			if !w.take(s) {
				healthy = false
			}
		}
	}
	return healthy
}

// gather makes the requests of a round, one for each leader.
func (w *writer) gather() (healthy bool) {
	healthy = true
	w.requests = w.requests[:0]
	for _, s := range w.active {
		if !s.fill(w) {
			continue
		}
		if s.leader < 0 {
			w.trouble(s, w.describe(s.topic, s.partition, kafka.LeaderNotAvailable))
			w.divertKeyless(s)
			healthy = false
			continue
		}
		w.requestTo(s.leader).add(s)
	}
	return healthy
}

func (w *writer) requestTo(leader int32) *request {
	for _, q := range w.requests {
		if q.leader == leader {
			return q
		}
	}
	q := &request{leader: leader}
	w.requests = append(w.requests, q)
	return q
}

// take reads the answer for the batch of a partition. It returns false if the batch has to be sent again after a pause.
func (w *writer) take(s *shard) (healthy bool) {
	if s.answer == nil {
		if s.err != nil {
			w.log(slog.LevelInfo, "partition is written again", s, nil)
		}
		s.advance()
		return true
	}
	err := w.describe(s.topic, s.partition, s.answer)
	c := cureFor(s.answer)
	switch c {
	case heal:
		w.trouble(s, err)
		return false
	case split:
		s.narrow(w, err)
	case report, forbid:
		w.failAll(s.rest(), err, c)
		s.drop()
	}
	return true
}

// trouble notes what has to be healed, and tells it when it begins.
func (w *writer) trouble(s *shard, err error) {
	if s.err == nil {
		w.log(slog.LevelWarn, "partition cannot be written, trying again", s, err)
	}
	s.err = err
}

// divertKeyless gives messages without a key to partitions that have a leader: they have no order to lose.
func (w *writer) divertKeyless(s *shard) {
	t := w.sink.cluster.known(s.topic, w.since)
	if t == nil || len(t.available) == 0 {
		return
	}
	keyed := s.rest()[:0]
	for _, i := range s.rest() {
		if w.ms[i].Key != nil {
			keyed = append(keyed, i)
			continue
		}
		w.turn++
		w.shardFor(t, t.available[w.turn%len(t.available)]).add(i)
	}
	s.queue = s.queue[:s.head+len(keyed)]
}

// failAll reports messages that this Write gives up.
func (w *writer) failAll(batch []int, err error, c cure) {
	if c == forbid {
		err = keystrand.Permanent(err)
	}
	for _, i := range batch {
		if !w.res.Failed(i) {
			w.res.Fail(i, err)
		}
	}
}

// abandon reports all that is left when the time is over.
func (w *writer) abandon(cause error) {
	for name, b := range w.unrouted {
		w.failAll(b.batch, because(w.describe(name, -1, cause), b.err), heal)
	}
	for _, s := range w.active {
		if s.pending() {
			w.failAll(s.rest(), because(w.describe(s.topic, s.partition, cause), s.err), heal)
		}
	}
}

// pause waits before the next round and makes it ask for the leaders anew. It returns false if ctx has ended.
func (w *writer) pause(ctx context.Context) bool {
	if w.wait == nil {
		w.wait = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(50*time.Millisecond),
			backoff.WithMultiplier(2),
			backoff.WithMaxInterval(time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	timer := time.NewTimer(w.wait.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
		w.since = time.Now()
		return true
	case <-ctx.Done():
		return false
	}
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

func (w *writer) log(level slog.Level, text string, s *shard, err error) {
	attrs := []slog.Attr{slog.String("topic", s.topic), slog.Int64("partition", int64(s.partition)), slog.Int64("leader", int64(s.leader))}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	w.sink.cfg.Log.LogAttrs(context.Background(), level, text, attrs...)
}

func because(err, last error) error {
	if last == nil {
		return err
	}
	return fmt.Errorf("%w; last trouble: %w", err, last)
}

func appendNew(names []string, name string) []string {
	for _, n := range names {
		if n == name {
			return names
		}
	}
	return append(names, name)
}
