// Virtual time: the tests that use it make it.

package pulsar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// fakeBroker is a broker behind the client library, as the source sees them. It has faults of both that are rare with a real
// broker.
type fakeBroker struct {
	index bool          // it numbers messages
	delay time.Duration // from a change of candidates to the election message

	mu         sync.Mutex
	changed    chan struct{} // closed on each change
	partitions map[string]int
	topics     map[string]*fakeTopic
	ledger     int64
	down       bool
	dropped    int                      // number of next election messages that are lost
	hang       chan struct{}            // calls of the library return after it is closed; nil: at once
	only       fakeCall                 // the calls that hang; zero: all
	refuse     func(string) error       // answers a subscription; nil: it is accepted
	lookup     func(topic string) error // answers a look-up; nil: the existing topic
	creates    bool                     // it creates topics on request
	fault      func() ackFault          // of an acknowledgement
	lost       chan struct{}            // see crossed
	closing    chan struct{}            // a consumer keeps the lock until it is closed; nil: it does not
	answer     chan struct{}            // the lock is free, but Close returns after it is closed; nil: at once
	taken      func(topic string)       // called when a consumer is attached, before Attach returns
	journal    []fakeRequest            // in order of arrival
	requests   int
}

// fakeCall is a kind of call of the library.
type fakeCall string

const (
	callPartitions fakeCall = "partitions"
	callCandidate  fakeCall = "candidate"
	callAttach     fakeCall = "attach"
	callLast       fakeCall = "last message"
	callSeek       fakeCall = "seek"
	callClose      fakeCall = "close"
	callResign     fakeCall = "close a candidate"
)

// fakeRequest is an acknowledgement request that has arrived.
type fakeRequest struct {
	at     time.Time
	of     *fakeConsumer
	before map[*fakeEntry][]bool // acknowledgements before it
}

type ackFault uint8

const (
	noFault ackFault = iota
	notStored
	storedUnanswered
	hangs   // until the consumer is closed
	late    // for a minute
	crossed // for a moment; if the consumer is closed meanwhile, until lost is closed: the library has lost the request
)

type fakeTopic struct {
	name       string
	number     int
	ledger     int64
	next       int64 // index
	entries    []*fakeEntry
	subscribed bool // the subscription exists, so its initial position is ignored
	holder     *fakeConsumer
	candidates []*fakeCandidate
	round      int // of the election
}

type fakeEntry struct {
	ledger, entry int64
	index         int64
	at            time.Time
	msgs          []keystrand.Message
	sealed        bool
	acked         []bool
}

var (
	errFakeBusy   = errors.New("server error: ConsumerBusy: Exclusive consumer is already connected")
	errFakeGone   = errors.New("server error: TopicNotFound: Topic does not exist")
	errFakeDown   = errors.New("connection error")
	errFakeClosed = errors.New("consumer state is closed")
)

func newFakeBroker() *fakeBroker {
	return &fakeBroker{
		index: true, delay: time.Second, changed: make(chan struct{}),
		partitions: make(map[string]int), topics: make(map[string]*fakeTopic), ledger: 10,
	}
}

// change runs f under the lock and wakes all waiters.
func (b *fakeBroker) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// create makes a topic with this many partitions, or adds partitions. 0 makes an unpartitioned topic.
func (b *fakeBroker) create(topic string, partitions int) {
	b.change(func() {
		b.partitions[topic] = partitions
		if partitions == 0 {
			b.ledger++
			b.topics[topic] = &fakeTopic{name: topic, ledger: b.ledger}
		}
		for n := range partitions {
			name := fmt.Sprintf("%s-partition-%d", topic, n)
			if b.topics[name] == nil {
				b.ledger++
				b.topics[name] = &fakeTopic{name: name, number: n, ledger: b.ledger}
			}
		}
	})
}

// remove deletes a topic. Its consumers are not told.
func (b *fakeBroker) remove(topic string) {
	b.change(func() {
		for n := range b.partitions[topic] {
			delete(b.topics, fmt.Sprintf("%s-partition-%d", topic, n))
		}
		delete(b.partitions, topic)
		delete(b.topics, topic)
	})
}

// recreate deletes a topic and creates it again. Its consumers stay attached.
func (b *fakeBroker) recreate(topic string) {
	b.change(func() {
		for n := range b.partitions[topic] {
			t := b.topics[fmt.Sprintf("%s-partition-%d", topic, n)]
			b.ledger += 2
			t.ledger, t.next, t.entries = b.ledger, 0, nil
			if t.holder != nil {
				t.holder.rewind()
			}
		}
	})
}

// unsubscribe deletes the subscription under its reader, with all acknowledgements.
func (b *fakeBroker) unsubscribe(topic string) {
	b.change(func() {
		t := b.topics[topic]
		t.subscribed = false
		for _, e := range t.entries {
			clear(e.acked)
		}
	})
	b.cut(topic, "")
}

// produce appends one entry: a message, or a batch.
func (b *fakeBroker) produce(topic string, msgs ...keystrand.Message) *fakeEntry {
	t := b.topics[topic]
	e := &fakeEntry{ledger: t.ledger, entry: int64(len(t.entries)), index: t.next, at: time.Now(), msgs: msgs, acked: make([]bool, len(msgs))}
	b.change(func() {
		t.next += int64(len(msgs))
		t.entries = append(t.entries, e)
	})
	return e
}

// cut disconnects a topic's consumers. Candidates reconnect, those with the name prefix late after a minute. The consumer of
// messages does not.
func (b *fakeBroker) cut(topic, late string) {
	b.mu.Lock()
	t := b.topics[topic]
	holder, candidates := t.holder, slices.Clone(t.candidates)
	b.mu.Unlock()
	if holder != nil {
		holder.s.disconnected(topic, holder.subscription)
	}
	b.change(func() {
		if holder != nil {
			holder.cut = true
		}
		if t.holder == holder {
			t.holder = nil
		}
	})
	var soon []*fakeCandidate
	for _, f := range candidates {
		b.away(f)
		if late != "" && strings.HasPrefix(f.o.Name, late) {
			time.AfterFunc(time.Minute, func() { b.back(f) })
		} else {
			soon = append(soon, f)
		}
	}
	b.back(soon...)
}

// away disconnects one candidate.
func (b *fakeBroker) away(f *fakeCandidate) {
	f.s.disconnected(f.t.name, f.o.Subscription)
	b.change(func() {
		f.told, f.away = false, true
		b.elect(f.t)
	})
}

// back reconnects candidates.
func (b *fakeBroker) back(all ...*fakeCandidate) {
	for _, f := range all {
		f.s.attached(f.t.name, f.o.Subscription)
		b.change(func() {
			f.away = false
			b.elect(f.t)
		})
	}
}

func (b *fakeBroker) candidatesOf(topic string) []*fakeCandidate {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.topics[topic].candidates)
}

// forget undoes the last n acknowledgement requests, as a broker does that is killed, or closes a topic meanwhile. recent limits
// it to requests of present owners within that time.
func (b *fakeBroker) forget(n int, recent time.Duration) {
	b.change(func() {
		for range n {
			last := len(b.journal) - 1
			if last < 0 || recent > 0 && (time.Since(b.journal[last].at) > recent || b.journal[last].of.t.holder != b.journal[last].of) {
				return
			}
			for e, acked := range b.journal[last].before {
				e.acked = acked
			}
			b.journal = b.journal[:last]
		}
	})
}

func (b *fakeBroker) unacked(topic string) (offsets []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.topics[topic].entries {
		for i := range e.msgs {
			if !e.acked[i] {
				offsets = append(offsets, e.index+int64(i))
			}
		}
	}
	return offsets
}

// fakeClient is the library in one process.
type fakeClient struct {
	b *fakeBroker
	s *Source

	mu        sync.Mutex
	dead      bool
	consumers []*fakeConsumer
	stood     []*fakeCandidate
}

// hangs blocks while calls of this kind hang, or until the consumer is closed.
func (b *fakeBroker) hangs(call fakeCall, closed <-chan struct{}) {
	b.mu.Lock()
	hang, only := b.hang, b.only
	b.mu.Unlock()
	if hang == nil || only != "" && only != call {
		return
	}
	select {
	case <-hang:
	case <-closed:
	}
}

func (c *fakeClient) Partitions(topic string) ([]string, error) {
	c.b.hangs(callPartitions, nil)
	c.b.mu.Lock()
	_, there := c.b.partitions[topic]
	creates, lookup := c.b.creates && !there, c.b.lookup
	c.b.mu.Unlock()
	if creates {
		c.b.create(topic, 0)
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if lookup != nil {
		if err := lookup(topic); err != nil {
			return nil, err
		}
	}
	n, there := c.b.partitions[topic]
	switch {
	case c.b.down:
		return nil, errFakeDown
	case !there:
		return nil, errFakeGone
	case n == 0:
		return []string{topic}, nil
	}
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-partition-%d", topic, i))
	}
	return all, nil
}

// crash closes everything without notice.
func (c *fakeClient) crash() {
	c.mu.Lock()
	c.dead = true
	consumers, stood := c.consumers, c.stood
	c.mu.Unlock()
	for _, d := range consumers {
		d.Close()
	}
	for _, f := range stood {
		f.Close()
	}
}

func (c *fakeClient) Close() {
	c.b.hangs(callClose, nil)
	c.crash()
}

func (c *fakeClient) admitted(topic, subscription string) (*fakeTopic, error) {
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	t := c.b.topics[topic]
	switch {
	case c.b.down, dead:
		return nil, errFakeDown
	case t == nil:
		return nil, errFakeGone
	case c.b.refuse != nil:
		return t, c.b.refuse(subscription)
	}
	return t, nil
}

type fakeCandidate struct {
	b      *fakeBroker
	s      *Source
	t      *fakeTopic
	o      client.Candidacy
	once   sync.Once
	told   bool
	active bool
	away   bool // disconnected
}

func (c *fakeClient) Join(o client.Candidacy) (client.Closer, error) {
	c.b.hangs(callCandidate, nil)
	f := &fakeCandidate{b: c.b, s: c.s, o: o}
	var err error
	c.b.change(func() {
		if f.t, err = c.admitted(o.Topic, o.Subscription); err == nil {
			f.t.candidates = append(f.t.candidates, f)
			slices.SortFunc(f.t.candidates, func(a, b *fakeCandidate) int { return cmp.Compare(a.o.Name, b.o.Name) })
			c.b.elect(f.t)
		}
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.stood = append(c.stood, f)
	c.mu.Unlock()
	return f, nil
}

// elect elects a candidate of a topic after the delay.
func (b *fakeBroker) elect(t *fakeTopic) {
	t.round++
	round := t.round
	time.AfterFunc(b.delay, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		there := slices.DeleteFunc(slices.Clone(t.candidates), func(f *fakeCandidate) bool { return f.away })
		if t.round != round || len(there) == 0 {
			return
		}
		chosen := there[t.number%len(there)]
		for _, f := range there {
			if active := f == chosen; active != f.active || !f.told {
				f.active, f.told = active, true
				if b.dropped > 0 {
					b.dropped--
					continue
				}
				f.o.Changed(active)
			}
		}
	})
}

func (f *fakeCandidate) Close() {
	f.b.hangs(callResign, nil)
	f.once.Do(func() {
		f.b.change(func() {
			f.t.candidates = slices.DeleteFunc(f.t.candidates, func(g *fakeCandidate) bool { return g == f })
			f.b.elect(f.t)
		})
	})
}

type fakeConsumer struct {
	b            *fakeBroker
	t            *fakeTopic
	s            *Source
	subscription string
	ch           chan pulsar.ConsumerMessage
	closed       chan struct{}
	ended        chan struct{}
	once         sync.Once

	// Guarded by the broker's mu.
	cut     bool
	entry   int // next to be sent
	msg     int
	turn    int // counts rewinds
	tracker map[int]*fakeTracker
}

// fakeTracker records the acknowledged messages of one delivered batch, like the library.
type fakeTracker struct{ acked []bool }

func (c *fakeClient) Attach(o client.Attachment) (client.Consumer, error) {
	c.b.hangs(callAttach, nil)
	d := &fakeConsumer{
		b: c.b, s: c.s, subscription: o.Subscription, ch: make(chan pulsar.ConsumerMessage, 10),
		closed: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	c.b.change(func() {
		if d.t, err = c.admitted(o.Topic, o.Subscription); err != nil {
			return
		}
		if d.t.holder != nil {
			err = errFakeBusy
			return
		}
		d.t.holder = d
		if o.Latest && !d.t.subscribed {
			for _, e := range d.t.entries {
				for i := range e.acked {
					e.acked[i] = true
				}
			}
		}
		d.t.subscribed = true
		d.rewind()
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.consumers = append(c.consumers, d)
	c.mu.Unlock()
	go d.feed()
	c.b.mu.Lock()
	taken := c.b.taken
	c.b.mu.Unlock()
	if taken != nil {
		taken(o.Topic)
	}
	return d, nil
}

func (d *fakeConsumer) Chan() <-chan pulsar.ConsumerMessage { return d.ch }

// fakeTopicID is the id of a topic's last message.
type fakeTopicID struct {
	pulsar.MessageID
	topic string
}

func (i fakeTopicID) Topic() string { return i.topic }

func (d *fakeConsumer) GetLastMessageIDs() ([]pulsar.TopicMessageID, error) {
	d.b.hangs(callLast, d.closed)
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	if d.cut || d.b.down {
		return nil, errFakeDown
	}
	last := &testID{ledger: -1, entry: -1, batch: -1}
	if n := len(d.t.entries); n > 0 {
		e := d.t.entries[n-1]
		last = &testID{ledger: e.ledger, entry: e.entry, batch: int32(len(e.msgs)) - 1}
	}
	return []pulsar.TopicMessageID{fakeTopicID{last, d.t.name}}, nil
}

// Seek moves the subscription to an entry, not behind it.
func (d *fakeConsumer) Seek(id pulsar.MessageID) error {
	to := ack.Position{Ledger: id.LedgerID(), Entry: id.EntryID()}
	return d.move(func(e *fakeEntry) bool { return ack.Position{Ledger: e.ledger, Entry: e.entry}.Compare(to) < 0 })
}

func (d *fakeConsumer) SeekByTime(t time.Time) error {
	return d.move(func(e *fakeEntry) bool { return e.at.Before(t) })
}

// move makes the entries that behind selects the only acknowledged ones.
func (d *fakeConsumer) move(behind func(e *fakeEntry) bool) error {
	d.b.hangs(callSeek, d.closed)
	select {
	case <-d.closed:
		return errFakeClosed
	default:
	}
	d.b.change(func() {
		for _, e := range d.t.entries {
			for i := range e.acked {
				e.acked[i] = behind(e)
			}
		}
		d.rewind()
	})
	return nil
}

// rewind redelivers all unacknowledged messages. The channel keeps its own.
func (d *fakeConsumer) rewind() {
	d.entry, d.msg, d.tracker = 0, 0, make(map[int]*fakeTracker)
	d.turn++
}

// feed delivers unacknowledged messages in order.
func (d *fakeConsumer) feed() {
	defer close(d.ended)
	for {
		d.b.mu.Lock()
		m, turn, changed := d.next(), d.turn, d.b.changed
		d.b.mu.Unlock()
		ch := d.ch
		if m == nil {
			ch = nil
		}
		select {
		case ch <- pulsar.ConsumerMessage{Message: m}:
			d.b.mu.Lock()
			if d.turn == turn {
				d.msg++
			}
			d.b.mu.Unlock()
		case <-changed:
		case <-d.closed:
			return
		}
	}
}

func (d *fakeConsumer) next() pulsar.Message {
	for ; !d.cut && d.entry < len(d.t.entries); d.entry, d.msg = d.entry+1, 0 {
		e := d.t.entries[d.entry]
		for ; d.msg < len(e.msgs); d.msg++ {
			if e.acked[d.msg] {
				continue
			}
			if d.tracker[d.entry] == nil {
				d.tracker[d.entry] = &fakeTracker{acked: make([]bool, len(e.msgs))}
			}
			return &fakeMessage{b: d.b, t: d.t, e: e, i: d.msg, id: &testID{
				ledger: e.ledger, entry: e.entry, batch: int32(d.msg), size: int32(len(e.msgs)), tracker: d.tracker[d.entry],
			}}
		}
	}
	return nil
}

func (d *fakeConsumer) AckIDList(ids []pulsar.MessageID) error {
	for waited := false; ; waited = true {
		d.b.mu.Lock()
		fault := noFault
		switch {
		case d.cut:
			fault = hangs
		case d.b.fault != nil && !waited:
			fault = d.b.fault()
		}
		select {
		case <-d.closed:
			d.b.mu.Unlock()
			return errFakeClosed
		default:
		}
		switch fault {
		case noFault, storedUnanswered:
			d.apply(ids)
			d.b.mu.Unlock()
			if fault == storedUnanswered {
				return errFakeDown
			}
			return nil
		case notStored:
			d.b.mu.Unlock()
			return errFakeDown
		case hangs:
			d.b.mu.Unlock()
			<-d.closed
			return errFakeClosed
		case crossed:
			lost := d.b.lost
			d.b.mu.Unlock()
			time.Sleep(time.Millisecond)
			select {
			case <-d.closed:
				<-lost
			default:
			}
			return errFakeDown
		case late:
			d.b.mu.Unlock()
			select {
			case <-time.After(time.Minute):
			case <-d.closed:
				return errFakeClosed
			}
		}
	}
}

func (d *fakeConsumer) apply(ids []pulsar.MessageID) {
	before := make(map[*fakeEntry][]bool)
	d.b.requests++
	for _, id := range ids {
		for _, e := range d.t.entries {
			if e.ledger != id.LedgerID() || e.entry != id.EntryID() {
				continue
			}
			if before[e] == nil {
				before[e] = slices.Clone(e.acked)
			}
			own, ok := id.(*testID)
			whole := id.BatchIdx() < 0 || !ok // of an id made from numbers, the library uses only ledger and entry
			if !whole {
				own.tracker.acked[own.batch] = true
				whole = !slices.Contains(own.tracker.acked, false)
			}
			for i := range e.acked {
				e.acked[i] = e.acked[i] || whole
			}
		}
	}
	d.b.journal = append(d.b.journal, fakeRequest{at: time.Now(), of: d, before: before})
}

func (d *fakeConsumer) Close() {
	d.once.Do(func() {
		close(d.closed)
		<-d.ended
		d.b.mu.Lock()
		closing := d.b.closing
		d.b.mu.Unlock()
		if closing != nil {
			<-closing
		}
		d.b.change(func() {
			if d.t.holder == d {
				d.t.holder = nil
			}
		})
		d.b.mu.Lock()
		answer := d.b.answer
		d.b.mu.Unlock()
		if answer != nil {
			<-answer
		}
	})
}

// testID is the id of a delivered message. Its entry has size messages.
type testID struct {
	ledger, entry int64
	batch, size   int32
	tracker       *fakeTracker
}

func (i *testID) Serialize() []byte   { return nil }
func (i *testID) LedgerID() int64     { return i.ledger }
func (i *testID) EntryID() int64      { return i.entry }
func (i *testID) BatchIdx() int32     { return i.batch }
func (i *testID) PartitionIdx() int32 { return 0 }
func (i *testID) BatchSize() int32    { return i.size }
func (i *testID) String() string      { return fmt.Sprintf("%d:%d:%d", i.ledger, i.entry, i.batch) }

// fakeMessage is a message as the library delivers it.
type fakeMessage struct {
	pulsar.Message
	b  *fakeBroker
	t  *fakeTopic
	e  *fakeEntry
	i  int
	id *testID
}

func (m *fakeMessage) ID() pulsar.MessageID { return m.id }
func (m *fakeMessage) Key() string          { return string(m.e.msgs[m.i].Key) }
func (m *fakeMessage) Payload() []byte {
	if v := m.e.msgs[m.i].Value; v != nil {
		return v
	}
	return []byte{}
}
func (m *fakeMessage) EventTime() time.Time   { return time.Unix(0, 0) }
func (m *fakeMessage) PublishTime() time.Time { return time.Unix(1_700_000_000, 0) }

func (m *fakeMessage) Properties() map[string]string {
	all := make(map[string]string)
	for _, h := range m.e.msgs[m.i].Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func (m *fakeMessage) Index() *uint64 {
	if !m.b.index {
		return nil
	}
	i := uint64(m.e.index) + uint64(m.i)
	return &i
}

func (m *fakeMessage) GetEncryptionContext() *pulsar.EncryptionContext {
	if !m.e.sealed {
		return nil
	}
	return &pulsar.EncryptionContext{Keys: map[string]pulsar.EncryptionKey{"orders-key": {}}}
}

// source makes a source of this broker.
func (b *fakeBroker) source(cfg Config, topics ...string) (*Source, *fakeClient, error) {
	s, err := New("pulsar://fake:6650", "billing", topics, cfg)
	if err != nil {
		return nil, nil, err
	}
	c := &fakeClient{b: b, s: s}
	s.connect = func() (client.Client, error) { return c, nil }
	return s, c, nil
}
