// Virtual time: the bubbles are in sink_test.go and random_test.go.

package pulsar

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/sink"
)

// fake is a broker with the client library in front of it. It imitates their behaviour that endangers order: entries that
// fail alone, entries sent again although they are stored, missing callbacks, calls that hang, and panics.
type fake struct {
	mu         sync.Mutex
	partitions map[string]int // number of partitions by topic; 0 for a topic without partitions
	log        map[string][]keystrand.Message
	fault      func(topic string, ms []keystrand.Message) fault // returns the fault of an arriving entry; nil: all are stored
	sendFault  func(m *pulsar.ProducerMessage) error            // returns the error of SendAsync; errPanic panics
	openFault  func(topic string) error                         // returns the error of Produce
	askFault   func(topic string) error                         // returns the error of Partitions
	maxMessage int                                              // 0: no limit
	queue      int                                              // MaxPendingMessages; 0: 1000
	closing    time.Duration                                    // how long closing a producer takes
	open       map[string]int                                   // open producers by topic
	opened     int                                              // number of producers ever opened
	violations []string                                         // forbidden calls of the sink
	ended      bool                                             // the client is closed
	pieces     bool                                             // each message is an entry of its own, as if the library cut batches
	mixes      bool                                             // Config.MixKeys
	oneWriter  bool                                             // a second producer for a partition is a violation
}

type fault uint8

const (
	store     fault = iota
	cut             // the connection breaks before the entry is stored; the library sends all pending entries again
	storeCut        // the connection breaks after the entry is stored; it is stored again
	fail            // the entry alone fails; entries behind it are stored
	failAll         // all pending entries fail, later ones do not, as for a quota at a reconnect
	swallow         // neither the entry nor any later one gets an answer
	terminate       // the topic is terminated
	dropRest        // the entry is too large, and entries flushed with it are dropped without a callback
)

var errPanic = errors.New("panic")

func newFake(partitions map[string]int) *fake {
	return &fake{partitions: partitions, log: make(map[string][]keystrand.Message), open: make(map[string]int), oneWriter: true}
}

// Partitions implements client.
func (f *fake) Partitions(topic string) ([]string, error) {
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.askFault != nil {
		if err := f.askFault(topic); err != nil {
			return nil, err
		}
	}
	n, ok := f.partitions[topic]
	if !ok { // most tests use short names
		topic = strings.TrimPrefix(topic, "persistent://public/default/")
		n, ok = f.partitions[topic]
	}
	if !ok {
		return nil, errors.New("TopicNotFound")
	}
	if n == 0 {
		return []string{topic}, nil
	}
	var all []string
	for p := range n {
		all = append(all, fmt.Sprintf("%s-partition-%d", topic, p))
	}
	return all, nil
}

// Produce implements client.
func (f *fake) Produce(topic string) (producer, error) {
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	hook := f.openFault
	f.mu.Unlock()
	if hook != nil {
		if err := hook(topic); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[topic]++; f.open[topic] > 1 && f.oneWriter {
		f.violateLocked("a producer to %s is opened before the one before it is closed", topic)
	}
	f.opened++
	p := &fakeProducer{fake: f, topic: topic, wake: make(chan struct{}, 1), over: make(chan struct{}), room: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
	go p.loop()
	return p, nil
}

// Close implements client.
func (f *fake) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for topic, n := range f.open {
		if n > 0 {
			f.violateLocked("the client is closed before a producer to %s", topic)
		}
	}
}

func (f *fake) violateLocked(format string, args ...any) {
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// read returns all stored messages, in order for each partition.
func (f *fake) read() []keystrand.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []keystrand.Message
	for _, topic := range slices.Sorted(maps.Keys(f.log)) {
		all = append(all, f.log[topic]...)
	}
	return all
}

// fakeProducer answers from its own goroutine, entry by entry.
type fakeProducer struct {
	fake  *fake
	topic string
	wake  chan struct{} // there may be entries
	room  chan struct{} // there may be room in the queue
	idle  chan struct{} // all messages may be answered
	over  chan struct{} // closed by Close

	// Guarded by fake.mu.
	closed  bool
	batch   []*sent   // accepted, not flushed
	pending [][]*sent // entries sent to the broker
	busy    int       // messages accepted and not answered
}

type sent struct {
	m    keystrand.Message
	done func(pulsar.MessageID, *pulsar.ProducerMessage, error)
	pm   *pulsar.ProducerMessage
}

// SendAsync implements producer.
func (p *fakeProducer) SendAsync(ctx context.Context, pm *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	f := p.fake
	limit := 1000
	for {
		f.mu.Lock()
		if f.queue > 0 {
			limit = f.queue
		}
		full, closed := p.busy >= limit, p.closed
		if !full || closed {
			break
		}
		f.mu.Unlock()
		select {
		case <-p.room:
		case <-ctx.Done():
			done(nil, pm, ctx.Err())
			return
		}
	}
	var err error
	switch {
	case p.closed:
		err = pulsar.ErrProducerClosed
	case f.maxMessage > 0 && len(pm.Payload) > f.maxMessage:
		err = pulsar.ErrMessageTooLarge
	case f.sendFault != nil:
		err = f.sendFault(pm)
	}
	if err != nil {
		f.mu.Unlock()
		if errors.Is(err, errPanic) {
			panic("send on closed channel")
		}
		done(nil, pm, err)
		return
	}
	defer f.mu.Unlock()
	if pm.SequenceID != nil {
		f.violateLocked("%s=%s is sent with the sequence id %d: a broker that deduplicates drops what comes behind a higher one", pm.Key, pm.Payload, *pm.SequenceID)
	}
	m := asRead(pm)
	m.Stream, m.Partition = splitTopic(p.topic)
	if m.Key != nil {
		for _, entry := range p.pending {
			if string(entry[0].m.Key) == string(m.Key) {
				f.violateLocked("%s=%s is sent while %s=%s is unconfirmed", m.Key, pm.Payload, m.Key, entry[0].m.Value)
			}
		}
		for _, s := range p.batch {
			if string(s.m.Key) == string(m.Key) && libraryKey(s.pm) != libraryKey(pm) && !f.mixes {
				f.violateLocked("%s=%s and %s=%s are sent together in two entries", m.Key, pm.Payload, m.Key, s.m.Value)
			}
		}
	}
	p.batch = append(p.batch, &sent{m, done, pm})
	p.busy++
}

// asRead returns the message that consumers read: the former has replaced the property.
func asRead(pm *pulsar.ProducerMessage) keystrand.Message {
	m := keystrand.Message{Value: pm.Payload}
	if !pm.EventTime.IsZero() {
		m.Time = time.UnixMilli(int64(uint64(pm.EventTime.UnixNano()) / 1e6)) //nolint:gosec // as the library (v0.19.0) does
	}
	n := &pulsarwire.Native{Ordering: pm.OrderingKey}
	if pm.Key != "" {
		n.Kind, m.Key = pulsarwire.KeyText, []byte(pm.Key)
	}
	for k, v := range pm.Properties {
		if k != pulsarwire.PropertyName {
			m.Headers = append(m.Headers, keystrand.Header{Key: k, Value: []byte(v)})
			continue
		}
		if len(v) > 1 {
			ms, _ := strconv.ParseInt(v[1:], 16, 64)
			m.Time = time.UnixMilli(ms)
		}
		for _, f := range []pulsarwire.Form{{EmptyKey: true}, {Base64: true}, {NullKey: true}, {NullValue: true}} {
			switch set := v[0]&f.Property()[0] != 0; {
			case !set:
			case f.EmptyKey:
				n.Kind, m.Key = pulsarwire.KeyText, []byte{}
			case f.Base64:
				n.Kind = pulsarwire.KeyBytes
				if len(pm.Key) > 0 {
					m.Key, _ = base64.StdEncoding.DecodeString(pm.Key)
				}
			case f.NullKey:
				n.Kind = pulsarwire.KeyNull
			case f.NullValue:
				m.Value = nil
			}
		}
	}
	m.Native = n
	return m
}

// libraryKey is what messages have in common that the library puts into one entry.
func libraryKey(pm *pulsar.ProducerMessage) string {
	if pm.OrderingKey != "" {
		return base64.StdEncoding.EncodeToString([]byte(pm.OrderingKey))
	}
	return pm.Key
}

func splitTopic(topic string) (string, int32) {
	name, n, ok := strings.Cut(topic, "-partition-")
	if !ok {
		return topic, 0
	}
	var partition int32
	_, _ = fmt.Sscan(n, &partition)
	return name, partition
}

// FlushWithCtx implements producer.
func (p *fakeProducer) FlushWithCtx(ctx context.Context) error {
	f := p.fake
	f.mu.Lock()
	if p.closed {
		f.mu.Unlock()
		return pulsar.ErrProducerClosed
	}
	entries := make(map[string]int)
	for _, s := range p.batch {
		k := libraryKey(s.pm)
		n, ok := entries[k]
		if !ok || f.pieces {
			n = len(p.pending)
			entries[k] = n
			p.pending = append(p.pending, nil)
		}
		p.pending[n] = append(p.pending[n], s)
	}
	p.batch = nil
	f.mu.Unlock()
	poke(p.wake)
	for {
		f.mu.Lock()
		left, closed := len(p.pending), p.closed
		f.mu.Unlock()
		if closed {
			return pulsar.ErrProducerClosed
		}
		if left == 0 {
			return nil
		}
		select {
		case <-p.idle:
		case <-p.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close implements producer.
func (p *fakeProducer) Close() {
	p.fake.mu.Lock()
	d := p.fake.closing
	p.fake.mu.Unlock()
	time.Sleep(d)
	p.close(pulsar.ErrProducerClosed)
}

// close fails pending entries. Messages that were not flushed get no callback.
func (p *fakeProducer) close(reason error) {
	f := p.fake
	f.mu.Lock()
	if p.closed {
		f.mu.Unlock()
		return
	}
	p.closed = true
	failed := p.pending
	p.pending = nil
	f.open[p.topic]--
	f.mu.Unlock()
	close(p.over)
	p.answer(failed, reason)
}

func (p *fakeProducer) answer(entries [][]*sent, err error) {
	if err == nil || !isExceeded(err) { // the callbacks of an exceeded quota run within Flush
		poke(p.idle) // Flush may return before these callbacks
		time.Sleep(time.Millisecond / 10)
	}
	for _, entry := range entries {
		for _, s := range entry {
			p.fake.mu.Lock()
			p.busy--
			p.fake.mu.Unlock()
			s.done(nil, s.pm, err)
		}
	}
	poke(p.room)
	poke(p.idle)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *fakeProducer) loop() {
	for {
		select {
		case <-p.wake:
		case <-p.over:
			return
		}
		for p.next() {
			select {
			case <-time.After(time.Millisecond): // network latency
			case <-p.over:
				return
			}
		}
	}
}

// next answers the oldest entry. It returns false if there is none, or if it is never answered.
func (p *fakeProducer) next() bool {
	f := p.fake
	f.mu.Lock()
	if p.closed || len(p.pending) == 0 {
		f.mu.Unlock()
		return false
	}
	entry, what := p.pending[0], store
	ms := make([]keystrand.Message, len(entry))
	for i, s := range entry {
		ms[i] = s.m
	}
	if f.fault != nil {
		what = f.fault(p.topic, ms)
	}
	var gone [][]*sent
	var err error
	switch what {
	case store:
		f.log[p.topic] = append(f.log[p.topic], ms...)
		gone, p.pending = p.pending[:1], p.pending[1:]
	case cut:
	case storeCut: // other pending entries are stored, too
		for _, e := range p.pending {
			for _, s := range e {
				f.log[p.topic] = append(f.log[p.topic], s.m)
			}
		}
	case fail:
		gone, p.pending, err = p.pending[:1], p.pending[1:], errors.New("server error: PersistenceError")
	case failAll:
		gone, p.pending, err = p.pending, nil, errors.Join(pulsar.ErrProducerBlockedQuotaExceeded, errors.New("server error"))
	case swallow:
		f.mu.Unlock()
		return false
	case terminate:
		f.openFault = func(string) error { return pulsar.ErrTopicTerminated }
		f.mu.Unlock()
		p.close(errors.Join(pulsar.ErrTopicTerminated, errors.New("server error")))
		return false
	case dropRest:
		gone, p.pending, err = p.pending[:1], nil, errors.New("encryptedPayload exceeds MaxMessageSize, size: 9, MaxMessageSize: 1")
	}
	f.mu.Unlock()
	if gone != nil {
		p.answer(gone, err)
	}
	return true
}

func (f *fake) sink(t *testing.T, topic string, cfg Config) *Sink {
	t.Helper()
	cfg = cfg.withDefaults()
	if err := cfg.validate("pulsar://fake:6650", topic); err != nil {
		t.Fatal(err)
	}
	f.mixes = cfg.MixKeys
	return newSink(f, topic, cfg, &troubles{})
}

// writer opens a writer of a new sink. At the end of the test it checks that all are closed without a violation.
func (f *fake) writer(t *testing.T, topic string, cfg Config) sink.Writer {
	t.Helper()
	s := f.sink(t, topic, cfg)
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		f.check(t)
	})
	return w
}

func (f *fake) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		t.Error("the client was not closed")
	}
	for _, v := range f.violations[:min(len(f.violations), 5)] {
		t.Error(v)
	}
}

// keyed returns messages for texts like key=value.
func keyed(pairs ...string) []keystrand.Message {
	var ms []keystrand.Message
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		ms = append(ms, keystrand.Message{Key: []byte(k), Value: []byte(v)})
	}
	return ms
}

// values joins the values of each key in the order they are stored.
func values(ms []keystrand.Message) map[string]string {
	by := make(map[string]string)
	for i := range ms {
		k := string(ms[i].Key)
		by[k] = strings.TrimSpace(by[k] + " " + string(ms[i].Value))
	}
	return by
}
