//go:build unix

package livetest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand/internal/pulsartest"
)

// pulsarCluster is Apache Pulsar as tools/services runs it.
type pulsarCluster struct {
	service
	admin     *pulsartest.Admin
	client    pulsar.Client
	numbers   bool   // the offsets are the broker's numbers of messages
	batch     int    // messages of an entry at most; 0: each is one
	store     *store // of the members' progress; nil: none
	producers map[Place]pulsar.Producer
	logs      map[Place][]int64 // positions of the messages, in order
}

// offset returns the offset of a message from its index and its position in the log.
func (p *pulsarCluster) offset(index int, position int64) int64 {
	if p.numbers { // one producer, one after the other
		return int64(index)
	}
	return position
}

// newPulsar connects to Pulsar. Flavours: batches, store (with batches, members keep progress there), strict (topics are not
// made on demand), or none. The sizes are smaller than on Kafka: the broker writes each message as an entry of its own to disk,
// and its output too.
func newPulsar(t *testing.T, name, flavour string) *pulsarCluster {
	t.Helper()
	p := &pulsarCluster{
		service:   service{name: name, messages: 24_000, messagesEmitted: 10_000, keys: 2_000, withholds: flavour != "store"},
		producers: map[Place]pulsar.Producer{}, logs: map[Place][]int64{},
		numbers: name != "pulsar-default" && flavour != "store", // with a store, offsets are packed
	}
	p.forgets = map[Kind]time.Duration{
		Crashing: 4 * time.Second, // the broker writes its cursors once a second; a kill took at most those of 1.7 s
		Stopping: time.Second,     // a broker that stops or unloads a topic confirms acknowledgements that it does not write
	}
	if flavour == "batches" || flavour == "store" {
		p.batch = 20
	}
	variable := strings.ToUpper("KEYSTRAND_" + strings.ReplaceAll(p.name, "-", "_"))
	p.way = access{Service: "pulsar", Address: env(t, variable, p.name)}
	p.admin = &pulsartest.Admin{URL: env(t, variable+"_ADMIN", p.name)}
	opts := pulsar.ClientOptions{URL: p.way.Address, Logger: plog.NewLoggerWithSlog(slog.New(slog.DiscardHandler))}
	namespace, err := "public/default", error(nil)
	policies := map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}}
	switch {
	case name == "pulsar-tls":
		p.way.CA, p.way.Secret = env(t, "KEYSTRAND_PULSAR_CA", p.name), secret(t, "KEYSTRAND_PULSAR_TOKEN")
		namespace = env(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE", p.name)
		opts.TLSConfig, opts.TLSValidateHostname = trusting(p.way.CA), true
		opts.Authentication = pulsar.NewAuthenticationToken(p.way.Secret)
		p.admin.Token, p.admin.Transport = secret(t, "KEYSTRAND_PULSAR_TOKEN_ADMIN"), &http.Transport{TLSClientConfig: opts.TLSConfig}
	case flavour == "store":
		p.store, p.way.Store = newStore(t)
		// A log whose messages are all settled would be empty, and the source does not believe a store about an empty log.
		policies["retention"] = map[string]int{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
		fallthrough
	case flavour == "strict":
		namespace, err = p.admin.Namespace(t.Context(), policies)
	}
	p.prefix = "persistent://" + namespace + "/"
	if err == nil {
		p.client, err = pulsar.NewClient(opts)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	return p
}

// secret reads the file that a variable names.
func secret(t *testing.T, variable string) string {
	t.Helper()
	b, err := os.ReadFile(env(t, variable, "pulsar-tls"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// topic returns the name of a partition as a topic of its own.
func (p Place) topic() string { return fmt.Sprintf("%s-partition-%d", p.Stream, p.Partition) }

func (p *pulsarCluster) create(ctx context.Context, stream string, partitions int) error {
	return p.admin.Create(ctx, stream, partitions)
}

func (p *pulsarCluster) remove(ctx context.Context, stream string, partitions int) error {
	p.endProducers()
	for n := range int32(partitions) {
		delete(p.logs, Place{stream, n})
	}
	return p.admin.Remove(ctx, stream, partitions)
}

func (p *pulsarCluster) produce(ctx context.Context, ms []Message) error {
	failed := make(chan error, len(ms))
	at := make([]int64, len(ms))
	used := map[pulsar.Producer]bool{}
	for i := range ms {
		producer, err := p.producer(ms[i].Place)
		if err != nil {
			return err
		}
		used[producer] = true
		m := &pulsar.ProducerMessage{Key: ms[i].Key, Payload: valueOf(&ms[i])}
		producer.SendAsync(ctx, m, func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			if err == nil {
				at[i] = position(id.LedgerID(), id.EntryID(), int64(max(id.BatchIdx(), 0)))
			}
			failed <- err
		})
	}
	for producer := range used {
		if err := producer.FlushWithCtx(ctx); err != nil {
			return err
		}
	}
	for range ms {
		if err := <-failed; err != nil {
			return err
		}
	}
	for i := range ms {
		m := &ms[i]
		m.Offset = p.offset(len(p.logs[m.Place]), at[i])
		p.logs[m.Place] = append(p.logs[m.Place], at[i])
	}
	return nil
}

func (p *pulsarCluster) producer(place Place) (pulsar.Producer, error) {
	var err error
	if p.producers[place] == nil {
		p.producers[place], err = p.client.CreateProducer(pulsar.ProducerOptions{
			Topic: place.topic(), SendTimeout: -1, DisableBatching: p.batch == 0,
			BatchingMaxMessages: uint(p.batch), BatchingMaxPublishDelay: 5 * time.Millisecond,
		})
	}
	return p.producers[place], err
}

// endProducers ends all producers before they lose their connection: one of the client library that connects again has a
// data race.
func (p *pulsarCluster) endProducers() {
	for _, producer := range p.producers {
		producer.Close()
	}
	clear(p.producers)
}

// move unloads the topic: the broker closes it and loads it again for the next that attaches.
func (p *pulsarCluster) move(ctx context.Context, stream string) error {
	return p.admin.Unload(ctx, stream)
}

// each asks the web service for something with each partition of a run.
func each(r *run, method, path string) error {
	for n := range int32(r.partitions) {
		if err := pulsarOf(r).admin.Do(r.t.Context(), method, pulsartest.Path(Place{r.stream, n}.topic())+path, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// pulsarOf returns the Pulsar of a scenario that is played there alone.
func pulsarOf(r *run) *pulsarCluster { return r.cluster.(*pulsarCluster) } //nolint:errcheck,forcetypeassert // see there

// deleteSubscription waits for a commit first: without one, nothing acknowledged is delivered again.
func deleteSubscription(r *run) {
	stored := func(e Event) bool { return e.Kind == Stored }
	r.until("a commit is stored", func() bool { return slices.ContainsFunc(r.Events, stored) })
	r.disturb(Crashing, func() error { return each(r, http.MethodDelete, "/subscription/"+r.group+"?force=true") })
}

func terminate(r *run) {
	r.produce(r.toCome)
	r.must(each(r, http.MethodPost, "/terminate"))
}

func addPartitions(r *run) {
	r.produce(r.toCome)
	r.partitions = 6
	r.must(pulsarOf(r).admin.Do(r.t.Context(), http.MethodPost, pulsartest.Path(r.stream)+"/partitions", r.partitions, nil))
	r.source = newKeys(r, r.seed+1)
	r.source.prefix = "late"
	r.toCome = r.messages
	r.produce(r.toCome)
}

// topicIsGone waits until all partitions are lost and both members have said so.
func topicIsGone(r *run) {
	r.until("all partitions are lost", func() bool {
		lost := map[Place]bool{}
		for _, e := range r.Events {
			if e.Kind == Lost {
				lost[e.Place] = true
			}
		}
		return len(lost) == r.partitions
	})
	for name := range r.members {
		r.until("the log of "+name+" says that the topic is gone", func() bool {
			return r.logged(name, "level=WARN", r.stream, "topic deleted") ||
				r.logged(name, "level=WARN", r.stream, "the topic does not exist")
		})
	}
}

func TestLivePulsar(t *testing.T)        { gate(t, "pulsar") }
func TestLivePulsarBatches(t *testing.T) { gate(t, "pulsar+batches") }
func TestLivePulsarStore(t *testing.T)   { gate(t, "pulsar+store") }
func TestLivePulsarDefault(t *testing.T) { gate(t, "pulsar-default", "pulsar-default+batches") }
func TestLivePulsarSecured(t *testing.T) { gate(t, "pulsar-tls") }

// Soak: the broker is stopped and killed, disconnects frozen members, unloads, deletes and terminates topics.
func TestSoakPulsar(t *testing.T) { gate(t, "pulsar", "pulsar+strict") }

// Soak: the broker is stopped and killed, and unloads the topic.
func TestSoakPulsarBatches(t *testing.T) { gate(t, "pulsar+batches") }

// Soak: the broker is stopped and killed, and disconnects frozen members.
func TestSoakPulsarStore(t *testing.T) { gate(t, "pulsar+store") }

// Soak: the broker is stopped and killed.
func TestSoakPulsarDefault(t *testing.T) { gate(t, "pulsar-default") }
