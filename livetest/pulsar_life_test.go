//go:build unix

package livetest

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/internal/pulsartest"
)

// TestSoakPulsarTopicUnloaded: the broker closes all consumers of the topic, and they come back in any order, while
// members work. Each owner loses the partition and begins anew. What the broker confirms while it closes a topic it may
// not keep: that comes again, in order.
//
// Soak: the topic is unloaded again and again under its owners.
func TestSoakPulsarTopicUnloaded(t *testing.T) {
	for _, batch := range []int{0, 20} {
		t.Run(fmt.Sprintf("EntriesOf%d", max(batch, 1)), func(t *testing.T) {
			p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
			p.batch = batch
			play(t, p, fewer(scenario{
				steps: []step{
					{0, join("a", "b", "c")},
					{0.15, moveLeaders},
					{0.30, moveLeaders},
					{0.45, leave("b")},
					{0.50, moveLeaders},
					{0.70, join("d")},
					{0.75, moveLeaders},
				},
			}))
		})
	}
}

// TestLivePulsarPartitionsAreAdded: partitions that are added are read from their first message on, and the others do not
// notice.
func TestLivePulsarPartitionsAreAdded(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	r := newRun(t, p, scenario{messages: 10_000, partitions: 4, orderly: true})
	stop := r.begin()
	defer stop()
	r.join("a")
	r.join("b")
	r.progress(0.3)
	if err := p.admin.Do(t.Context(), http.MethodPost, pulsartest.Path(p.topic(r.stream))+"/partitions", 6, nil); err != nil {
		t.Fatal(err)
	}
	r.setup.partitions = 6
	more := make([]Message, r.setup.messages)
	keys := newKeys(r.seed+1, r.setup)
	for i := range more {
		more[i] = keys.next(r.stream)
		more[i].Key = "late-" + more[i].Key
	}
	r.until("the rest is there", r.loaded.Load) // one producer a partition
	if err := p.Produce(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.produced = append(r.produced, more...)
	r.mu.Unlock()
	r.finish()
	if len(r.owners) != 6 {
		t.Errorf("%d partitions were owned, want 6", len(r.owners))
	}
}

// TestSoakPulsarSubscriptionDeleted: what was acknowledged is gone with the subscription, so everything comes again, each
// key in its order, and nothing is lost.
//
// Soak: the subscription is deleted under its owners.
func TestSoakPulsarSubscriptionDeleted(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	p.forgets = time.Hour // all of it
	play(t, p, scenario{
		messages: 6_000, partitions: 4, keys: 500,
		steps: []step{
			{0, join("a", "b")},
			{0.5, func(r *run) {
				r.note(Crashing)
				defer r.note(Gone)
				p.each(r, http.MethodDelete, "/subscription/"+r.group+"?force=true")
			}},
		},
	})
}

// TestSoakPulsarTopicTerminated: nothing can be written any more; what is there is handled to its end. The client library
// (0.19) does not know the command that says so, and closes the connection with everything on it, again and again: so
// this is a test of connections that are lost in the middle of messages, too.
//
// Soak: the topic is terminated under its owners.
func TestSoakPulsarTopicTerminated(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	play(t, p, scenario{
		messages: 6_000, partitions: 4, keys: 500,
		fill: func(r *run) ([]Message, error) {
			ms := make([]Message, r.setup.messages)
			keys := newKeys(r.seed, r.setup)
			for i := range ms {
				ms[i] = keys.next(r.stream)
			}
			return ms, p.Produce(r.t.Context(), ms)
		},
		steps: []step{
			{0, join("a", "b")},
			{0.3, func(r *run) { p.each(r, http.MethodPost, "/terminate") }},
			{0.6, leave("b")},
		},
	})
}

// each asks the admin for something with each partition as a topic of its own.
func (p *pulsarCluster) each(r *run, method, path string) {
	r.t.Helper()
	for n := range r.setup.partitions {
		if err := p.admin.Do(r.t.Context(), method, pulsartest.Path(p.full(Place{r.stream, int32(n)}))+path, nil, nil); err != nil {
			r.t.Fatal(err)
		}
	}
}

// strict makes a namespace where nobody but the test makes topics, with more policies if need be.
func (p *pulsarCluster) strict(t *testing.T, policies map[string]any) {
	t.Helper()
	all := map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}}
	maps.Copy(all, policies)
	var err error
	if p.namespace, err = p.admin.Namespace(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// TestSoakPulsarTopicDeletedAndMadeAgain: members whose topic is deleted say so, and go on when it is made again, with its
// first message.
//
// Soak: the topic is deleted under its owners.
func TestSoakPulsarTopicDeletedAndMadeAgain(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	p.strict(t, nil)
	r := newRun(t, p, scenario{messages: 4_000, partitions: 4})
	stop := r.begin()
	r.join("a")
	r.join("b")
	r.progress(0.4)
	r.until("who produces has all answers", r.loaded.Load)
	stop()

	if err := p.admin.Remove(t.Context(), p.topic(r.stream), r.setup.partitions); err != nil {
		t.Fatal(err)
	}
	r.until("all partitions are lost", func() bool { return len(r.lost()) == 4 })
	for _, name := range []string{"a", "b"} {
		r.until("the log of "+name+" says that the topic is gone", func() bool { return r.toldOfItsEnd(name) })
	}
	old := len(r.events)
	r.tellBroken()

	p.forget(r.stream)
	if err := p.admin.Create(t.Context(), p.topic(r.stream), r.setup.partitions); err != nil {
		t.Fatal(err)
	}
	keys := newKeys(r.seed+1, r.setup)
	ms := make([]Message, 2*r.setup.messages)
	for i := range ms {
		ms[i] = keys.next(r.stream)
	}
	if err := p.Produce(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.produced = ms
	r.mu.Unlock()
	r.setup.messages, r.count = len(ms), 0
	clear(r.settled)
	r.settledNow.Store(0)
	r.until("the new log is settled", func() bool { return r.count >= len(ms) })
	r.waitKept()
	r.leave("a", "b")
	r.read()
	r.events = ofNewOwners(r.events, old)
	r.check("")
}

// toldOfItsEnd tells whether a member has said that the topic does not exist, or that it was deleted.
func (r *run) toldOfItsEnd(name string) bool {
	r.t.Helper()
	log, err := os.ReadFile(filepath.Join(r.dir, name+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	for l := range strings.Lines(string(log)) {
		ends := strings.Contains(l, "topic deleted") || strings.Contains(l, "the topic does not exist")
		if ends && strings.Contains(l, r.stream) && strings.Contains(l, "level=WARN") {
			return true
		}
	}
	return false
}

// lost are the ownerships that were lost.
func (r *run) lost() map[ownerID]bool {
	all := map[ownerID]bool{}
	for i := range r.events {
		if e := &r.events[i]; e.Kind == Lost {
			all[idOf(e)] = true
		}
	}
	return all
}

// ofNewOwners returns the events of those who accepted a partition at from or later, and those of members as a whole.
func ofNewOwners(all []Event, from int) []Event {
	accepted := map[ownerID]bool{}
	var events []Event
	for _, e := range all[from:] {
		if e.Kind == Accepted {
			accepted[idOf(&e)] = true
		}
		if e.Stream == "" || accepted[idOf(&e)] {
			events = append(events, e)
		}
	}
	return events
}

// forget ends the producers of a stream that is gone.
func (p *pulsarCluster) forget(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for place, producer := range p.producers {
		if place.Stream == stream {
			producer.Close()
			delete(p.producers, place)
			delete(p.logs, place)
		}
	}
}
