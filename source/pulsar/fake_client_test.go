// Virtual time: the tests that use it make it.

package pulsar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

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

// stream is the name that the source uses for a topic of a test.
func stream(topic string) string { return "persistent://public/default/" + topic }

// nameOf returns the name by which a test has created a topic: most tests use short names.
func (b *fakeBroker) nameOf(topic string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, full := b.partitions[topic]; full {
		return topic
	}
	return strings.TrimPrefix(topic, stream(""))
}

func (c *fakeClient) Partitions(topic string) ([]string, error) {
	c.b.hangs(callPartitions, nil)
	topic = c.b.nameOf(topic)
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

func (c *fakeClient) Join(o client.Candidacy) (client.Candidate, error) {
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

func (f *fakeCandidate) Follow(ledger, entry int64) {
	f.b.change(func() { f.t.followed = append(f.t.followed, ack.Position{Ledger: ledger, Entry: entry}) })
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

// source makes a source of this broker.
func (b *fakeBroker) source(cfg Config, topics ...string) (*Source, *fakeClient, error) {
	s, err := New("pulsar://fake:6650", "billing", topics, cfg)
	if err != nil {
		return nil, nil, err
	}
	c := &fakeClient{b: b, s: s}
	s.connect = func() (client.Client, error) { return c, nil }
	s.probe = func(context.Context, string, string) error { return nil }
	return s, c, nil
}
