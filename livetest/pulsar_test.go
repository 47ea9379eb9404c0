//go:build unix

package livetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// pulsarCluster is Apache Pulsar as tools/services runs it.
type pulsarCluster struct {
	service
	admin   *pulsartest.Admin
	client  pulsar.Client
	numbers bool   // the offsets are the broker's numbers of messages, otherwise positions
	batch   int    // messages of an entry at most; 0: each is one
	store   *store // of the members' progress; nil: none
	logs    map[Place][]logged
}

// logged is a message in a log, by its offset and by the broker's position.
type logged struct{ offset, position int64 }

func position(ledger, entry, inBatch int64) int64 { return ledger<<36 | entry<<12 | inBatch }

// newPulsar connects to Pulsar. Flavours: batches, store (with batches, members keep progress there), strict (topics are not
// made on demand), or none. There are fewer messages than on Kafka: the broker writes each as an entry of its own to disk.
func newPulsar(t *testing.T, name, flavour string) *pulsarCluster {
	t.Helper()
	variable := strings.ToUpper("KEYSTRAND_" + strings.ReplaceAll(name, "-", "_"))
	p := &pulsarCluster{
		service: service{
			name: name, way: access{Service: "pulsar", Address: env(t, variable, name)},
			messages: 24_000, keys: 2_000, withholds: flavour != "store",
			forgets: map[Kind]time.Duration{
				Crashing: 4 * time.Second, // the broker writes its cursors once a second; a kill took at most those of 1.7 s
				Stopping: time.Second,     // a broker that stops or unloads a topic confirms acknowledgements that it does not write
			},
		},
		admin: &pulsartest.Admin{URL: env(t, variable+"_ADMIN", name)}, logs: map[Place][]logged{},
		numbers: name != "pulsar-default" && flavour != "store", // with a store, offsets are packed
		batch:   map[string]int{"batches": 20, "store": 20}[flavour],
	}
	opts := pulsar.ClientOptions{URL: p.way.Address, Logger: plog.NewLoggerWithSlog(slog.New(slog.DiscardHandler))}
	namespace, err := "public/default", error(nil)
	policies := map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}}
	switch {
	case name == "pulsar-tls":
		p.way.CA, namespace = env(t, "KEYSTRAND_PULSAR_CA", name), env(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE", name)
		for variable, token := range map[string]*string{"KEYSTRAND_PULSAR_TOKEN": &p.way.Secret, "KEYSTRAND_PULSAR_TOKEN_ADMIN": &p.admin.Token} {
			text, failed := os.ReadFile(env(t, variable, name))
			*token, err = strings.TrimSpace(string(text)), errors.Join(err, failed)
		}
		opts.TLSConfig, opts.TLSValidateHostname = trusting(p.way.CA), true
		opts.Authentication = pulsar.NewAuthenticationToken(p.way.Secret)
		p.admin.Transport = &http.Transport{TLSClientConfig: opts.TLSConfig}
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

// topic returns the name of a partition as a topic of its own.
func (p Place) topic() string { return fmt.Sprintf("%s-partition-%d", p.Stream, p.Partition) }

func (p *pulsarCluster) create(ctx context.Context, stream string, partitions int) error {
	return p.admin.Create(ctx, stream, partitions)
}

func (p *pulsarCluster) remove(ctx context.Context, stream string, partitions int) error {
	for n := range int32(partitions) {
		delete(p.logs, Place{stream, n})
	}
	return p.admin.Remove(ctx, stream, partitions)
}

// produce has a producer only while it writes: one of the client library that connects again has a data race.
func (p *pulsarCluster) produce(ctx context.Context, ms []Message) error {
	places := map[Place][]*Message{}
	for i := range ms {
		places[ms[i].Place] = append(places[ms[i].Place], &ms[i])
	}
	for place, ms := range places {
		producer, err := p.client.CreateProducer(pulsar.ProducerOptions{
			Topic: place.topic(), SendTimeout: -1, DisableBatching: p.batch == 0,
			BatchingMaxMessages: uint(p.batch), BatchingMaxPublishDelay: 5 * time.Millisecond,
		})
		if err != nil {
			return err
		}
		log, failed := make([]logged, len(ms)), make(chan error, len(ms))
		for i, m := range ms {
			sent := &pulsar.ProducerMessage{Key: m.Key, Payload: valueOf(m)}
			producer.SendAsync(ctx, sent, func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				if err == nil {
					log[i].position = position(id.LedgerID(), id.EntryID(), int64(max(id.BatchIdx(), 0)))
				}
				failed <- err
			})
		}
		err = producer.FlushWithCtx(ctx)
		for range ms {
			err = errors.Join(err, <-failed)
		}
		producer.Close()
		if err != nil {
			return err
		}
		for i, m := range ms {
			if log[i].offset = log[i].position; p.numbers {
				log[i].offset = int64(len(p.logs[place]) + i)
			}
			m.Offset = log[i].offset
		}
		p.logs[place] = append(p.logs[place], log...)
	}
	return nil
}

// progress reads the store, or without one the broker's cursors.
func (p *pulsarCluster) progress(ctx context.Context, stream, group string) (map[Place]commit.Progress, error) {
	if p.store != nil {
		return p.store.progress(), nil
	}
	all := map[Place]commit.Progress{}
	for place, log := range p.logs {
		if place.Stream != stream {
			continue
		}
		var stats struct {
			Cursors map[string]struct{ MarkDeletePosition, IndividuallyDeletedMessages string }
		}
		err := p.admin.Do(ctx, http.MethodGet, pulsartest.Path(place.topic())+"/internalStats", nil, &stats)
		if c, found := stats.Cursors[group]; err == nil && found {
			all[place], err = acknowledged(c.MarkDeletePosition, c.IndividuallyDeletedMessages, log)
		}
		if err != nil {
			return nil, fmt.Errorf("%+v: %w", place, err)
		}
	}
	return all, nil
}

var twoNumbers = regexp.MustCompile(`(\d+):(-?\d+)`)

// acknowledged returns what a broker keeps of a subscription, in offsets: all up to an entry "1:2", and the entries of ranges
// "[(1:3..1:5],(2:-1..2:0]]", which are behind the first and up to the second. Entries of a ledger begin at 0; the broker names -1,
// before them, too. A batch that is acknowledged in part counts as not acknowledged.
func acknowledged(upTo, ranges string, log []logged) (p commit.Progress, err error) {
	bounds := []int64{math.MinInt64} // the last positions of entries: each begins or ends a range
	for _, words := range twoNumbers.FindAllStringSubmatch(upTo+" "+ranges, -1) {
		ledger, _ := strconv.ParseInt(words[1], 10, 64)
		entry, _ := strconv.ParseInt(words[2], 10, 64)
		bounds = append(bounds, position(ledger, entry+1, 0)-1)
	}
	if len(bounds)%2 != 0 {
		return p, fmt.Errorf("acknowledged entries %q %q: not of the form 1:2 [(1:2..1:3]]", upTo, ranges)
	}
	gap := false
	for _, m := range log {
		before, _ := slices.BinarySearch(bounds, m.position)
		switch gap = gap || before%2 == 0; {
		case !gap:
			p.Frontier = m.offset + 1
		case before%2 != 0:
			p.Ahead = append(p.Ahead, commit.Range{From: m.offset, To: m.offset + 1})
		}
	}
	return p, nil
}

func TestAcknowledgedEntriesInOffsets(t *testing.T) {
	var log []logged
	for i, entry := range [][3]int64{{3, 0, 0}, {3, 0, 1}, {3, 1, 0}, {3, 2, 0}, {3, 2, 1}, {5, 0, 0}, {5, 1, 0}} {
		log = append(log, logged{int64(10 + i), position(entry[0], entry[1], entry[2])})
	}
	for of, want := range map[[2]string]string{
		{"3:-1", "[]"}:                       "0 [] <nil>",
		{"3:0", "[]"}:                        "12 [] <nil>",
		{"3:0", "[(3:1..3:2]]"}:              "12 [{13 14} {14 15}] <nil>",
		{"3:0", "[(3:1..3:2],(5:0..5:1]]"}:   "12 [{13 14} {14 15} {16 17}] <nil>",
		{"3:-1", "[(3:0..3:1],(5:-1..5:0]]"}: "0 [{12 13} {15 16}] <nil>",
		{"5:-1", "[]"}:                       "15 [] <nil>",
		{"5:1", "[]"}:                        "17 [] <nil>",
		{"3:0", "[(3:1...]"}:                 `0 [] acknowledged entries "3:0" "[(3:1...]": not of the form 1:2 [(1:2..1:3]]`,
	} {
		p, err := acknowledged(of[0], of[1], log)
		if got := fmt.Sprint(p.Frontier, p.Ahead, err); got != want {
			t.Errorf("%v is %s, want %s", of, got, want)
		}
	}
}

// move unloads the topic: the broker closes it and loads it again for the next that attaches.
func (p *pulsarCluster) move(ctx context.Context, stream string) error {
	return p.admin.Unload(ctx, stream)
}

// each asks the web service for something with each partition of a run.
func each(r *run, method, path string) (err error) {
	for n := range int32(r.partitions) {
		topic := pulsartest.Path(Place{r.stream, n}.topic())
		err = errors.Join(err, pulsarOf(r).admin.Do(r.t.Context(), method, topic+path, nil, nil))
	}
	return err
}

// pulsarOf returns the Pulsar of a scenario that is played there alone.
func pulsarOf(r *run) *pulsarCluster { return r.cluster.(*pulsarCluster) } //nolint:errcheck,forcetypeassert // see there

// deleteSubscription waits for a commit first: without one, nothing acknowledged is delivered again.
func deleteSubscription(r *run) {
	stored := func(e Event) bool { return e.Kind == Stored }
	r.until("a commit is stored", func() bool { return slices.ContainsFunc(r.Events, stored) })
	r.Forgets = map[Kind]time.Duration{Crashing: time.Hour} // the cursor is deleted with the subscription
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

func TestLivePulsar(t *testing.T)        { gate(t, "pulsar", "pulsar+batches", "pulsar+store") }
func TestLivePulsarDefault(t *testing.T) { gate(t, "pulsar-default", "pulsar-default+batches") }
func TestLivePulsarSecured(t *testing.T) { gate(t, "pulsar-tls") }

// Soak: the broker is stopped and killed, disconnects frozen members, unloads, deletes and terminates topics.
func TestSoakPulsar(t *testing.T) {
	gate(t, "pulsar", "pulsar+batches", "pulsar+store", "pulsar+strict")
}

// Soak: the broker is stopped and killed.
func TestSoakPulsarDefault(t *testing.T) { gate(t, "pulsar-default") }
