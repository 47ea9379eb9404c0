// Virtual time: the tests that use it make it.

package pulsar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
)

// fakeBroker is a broker behind the client library, as the source sees them. It has faults of both that are rare with a real
// broker.
type fakeBroker struct {
	delay time.Duration // from a change of candidates to the election message

	mu         sync.Mutex
	index      bool          // it numbers messages
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
	round      int            // of the election
	followed   []ack.Position // positions that candidates have moved their subscription to
}

type fakeEntry struct {
	ledger, entry int64
	hidden        bool // the library has not shown its frame
	index         int64
	at            time.Time
	msgs          []keystrand.Message
	sealed        bool
	damaged       error // the library cannot read it
	vague         bool  // the library does not tell the cause in full
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
func (b *fakeBroker) produce(topic string, msgs ...keystrand.Message) {
	b.produceAs(topic, func(*fakeEntry) {}, msgs...)
}

// produceAs appends one entry that set has changed. A consumer can deliver an entry as soon as it is appended, so a later change
// may have no effect.
func (b *fakeBroker) produceAs(topic string, set func(e *fakeEntry), msgs ...keystrand.Message) (e *fakeEntry) {
	b.change(func() {
		t := b.topics[topic]
		e = &fakeEntry{ledger: t.ledger, entry: int64(len(t.entries)), index: t.next, at: time.Now(), msgs: msgs, acked: make([]bool, len(msgs))}
		set(e)
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
