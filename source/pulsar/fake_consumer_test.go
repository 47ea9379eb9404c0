// Virtual time: the tests that use it make it.

package pulsar

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

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
		if e.damaged != nil && !e.acked[0] {
			d.s.unreadable(d.t.name, d.subscription, e.ledger, e.entry, errors.New("DecompressionError"), false)
			if !e.vague {
				d.s.unreadable(d.t.name, d.subscription, e.ledger, e.entry, e.damaged, true)
			}
			continue
		}
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

func (i *testID) Serialize() []byte { return nil }

func (i *testID) LedgerID() int64 { return i.ledger }

func (i *testID) EntryID() int64 { return i.entry }

func (i *testID) BatchIdx() int32 { return i.batch }

func (i *testID) PartitionIdx() int32 { return 0 }

func (i *testID) BatchSize() int32 { return i.size }

func (i *testID) String() string { return fmt.Sprintf("%d:%d:%d", i.ledger, i.entry, i.batch) }

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

func (m *fakeMessage) Key() string { return string(m.e.msgs[m.i].Key) }

func (m *fakeMessage) ProducerName() string {
	if m.e.hidden {
		return "producer"
	}
	return pulsarwire.Note{}.Name("producer")
}

func (m *fakeMessage) OrderingKey() string { return "" }

func (m *fakeMessage) SchemaVersion() []byte { return nil }

func (m *fakeMessage) RedeliveryCount() uint32 { return 0 }

func (m *fakeMessage) Payload() []byte {
	if v := m.e.msgs[m.i].Value; v != nil {
		return v
	}
	return []byte{}
}

func (m *fakeMessage) EventTime() time.Time { return time.Unix(0, 0) }

func (m *fakeMessage) PublishTime() time.Time { return time.Unix(1_700_000_000, 0) }

func (m *fakeMessage) Properties() map[string]string {
	all := make(map[string]string)
	for _, h := range m.e.msgs[m.i].Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func (m *fakeMessage) Index() *uint64 {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
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
