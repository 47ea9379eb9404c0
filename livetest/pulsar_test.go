//go:build unix

package livetest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
	"github.com/keystrand/keystrand/sink"
	sinkpulsar "github.com/keystrand/keystrand/sink/pulsar"
	"github.com/keystrand/keystrand/source"
	sourcepulsar "github.com/keystrand/keystrand/source/pulsar"
)

// pulsarArgs are those of source/pulsar in a member.
type pulsarArgs struct {
	URL                 string
	Topic, Subscription string
	Store               remoteStore // empty: none
	CA, TokenFile       string      // of a token over TLS; empty: neither
}

func init() {
	sources["pulsar"] = func(raw json.RawMessage, log *slog.Logger) (source.Source, error) {
		var a pulsarArgs
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		cfg := sourcepulsar.Config{WatchInterval: time.Second, Logger: log}
		if a.Store != "" {
			cfg.Store = a.Store
		}
		if a.CA != "" {
			var err error
			if cfg.TLS, err = trusting(a.CA); err != nil {
				return nil, err
			}
			token, err := os.ReadFile(a.TokenFile)
			if err != nil {
				return nil, err
			}
			cfg.Authentication = sourcepulsar.Token(strings.TrimSpace(string(token)))
		}
		return sourcepulsar.New(a.URL, a.Subscription, []string{a.Topic}, cfg)
	}
	sinks["pulsar"] = func(raw json.RawMessage) (sink.Sink, error) {
		var a pulsarArgs
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		return sinkpulsar.New(a.URL, a.Topic, sinkpulsar.Config{})
	}
}

// pulsarCluster is Apache Pulsar as tools/services runs it.
type pulsarCluster struct {
	t         *testing.T
	service   string // its name there
	url       string
	admin     *pulsartest.Admin
	client    pulsar.Client
	namespace string       // where topics are made
	index     bool         // the broker numbers messages
	batch     int          // messages of a batch at most; 0: none
	store     *storeServer // of the members' progress; nil: none
	forgets   time.Duration
	ca, token string // files, of what members show; empty: nothing

	moving    sync.RWMutex // held for writing while the broker goes, or gives topics away: what is sent then can be stored twice
	mu        sync.Mutex
	producers map[Place]pulsar.Producer // guarded by mu
	logs      map[Place][]stored        // guarded by mu: what was produced, in order
}

// stored is where a message is in the log of its partition.
type stored struct {
	ledger, entry int64
	offset        int64
}

var _ Cluster = (*pulsarCluster)(nil)

// newPulsar is the cluster whose URL is in a variable; that of its admin is in one with _ADMIN behind.
func newPulsar(t *testing.T, variable, service string) *pulsarCluster {
	t.Helper()
	url, admin := os.Getenv(variable), os.Getenv(variable+"_ADMIN")
	if url == "" || admin == "" {
		t.Skipf("%s and %s_ADMIN are not set: tools/services/services up %s; eval \"$(tools/services/services env)\"; go test -race -run '^TestLivePulsar' ./livetest",
			variable, variable, service)
	}
	p := &pulsarCluster{
		t: t, service: service, url: url, admin: &pulsartest.Admin{URL: admin}, namespace: "public/default",
		index: true, forgets: 4 * time.Second, producers: map[Place]pulsar.Producer{}, logs: map[Place][]stored{},
	}
	p.client = p.newClient(pulsar.ClientOptions{})
	return p
}

func (p *pulsarCluster) newClient(o pulsar.ClientOptions) pulsar.Client {
	p.t.Helper()
	o.URL = p.url
	o.Logger = plog.NewLoggerWithSlog(slog.New(slog.DiscardHandler))
	c, err := pulsar.NewClient(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

// Promises says that Pulsar keeps acknowledged messages back. It writes them down once a second; what a kill took with it
// was never older than 1.7 s before the last.
// A store tells the next owner all.
func (p *pulsarCluster) Promises(h *History) {
	if p.store == nil {
		h.Withholds, h.Forgets, h.ForgetsInOrder = true, p.forgets, time.Second
	}
}

// Nodes returns how many brokers there are.
func (p *pulsarCluster) Nodes() int { return 1 }

// NewStream makes a topic with partitions.
func (p *pulsarCluster) NewStream(ctx context.Context, partitions int) (string, error) {
	stream := fmt.Sprintf("live-%d", time.Now().UnixNano())
	if p.namespace != "public/default" {
		stream = "persistent://" + p.namespace + "/" + stream
	}
	if err := p.admin.Create(ctx, p.topic(stream), partitions); err != nil {
		return "", fmt.Errorf("create topic %s: %w", stream, err)
	}
	p.t.Cleanup(func() {
		p.forget(stream)
		_ = p.admin.Remove(context.WithoutCancel(ctx), p.topic(stream), partitions)
	})
	return stream, nil
}

// full returns the name of a partition as a topic of its own.
func (p *pulsarCluster) full(place Place) string {
	return fmt.Sprintf("%s-partition-%d", p.topic(place.Stream), place.Partition)
}

// topic returns the full name of a stream.
func (p *pulsarCluster) topic(stream string) string {
	if strings.Contains(stream, "://") {
		return stream
	}
	return "persistent://public/default/" + stream
}

// Produce writes messages and fills in their offsets.
func (p *pulsarCluster) Produce(ctx context.Context, ms []Message) error {
	p.moving.RLock()
	defer p.moving.RUnlock()
	var wrote sync.WaitGroup
	failed := make(chan error, len(ms))
	places := make([]stored, len(ms))
	used := map[Place]pulsar.Producer{}
	for i := range ms {
		producer := used[ms[i].Place]
		if producer == nil {
			var err error
			if producer, err = p.producer(ms[i].Place); err != nil {
				return err
			}
			used[ms[i].Place] = producer
		}
		wrote.Add(1)
		producer.SendAsync(ctx, pulsarMessageOf(&ms[i]), func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			defer wrote.Done()
			if err != nil {
				failed <- err
				return
			}
			places[i] = stored{ledger: id.LedgerID(), entry: id.EntryID(), offset: packed(id)}
		})
	}
	for _, producer := range used {
		if err := producer.FlushWithCtx(ctx); err != nil {
			return err
		}
	}
	wrote.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range ms {
		m := &ms[i]
		if p.index { // one producer, one after the other
			places[i].offset = int64(len(p.logs[m.Place]))
		}
		m.Offset = places[i].offset
		p.logs[m.Place] = append(p.logs[m.Place], places[i])
	}
	return nil
}

// packed is the offset of a message that the broker does not number.
func packed(id pulsar.MessageID) int64 {
	return id.LedgerID()<<36 | id.EntryID()<<12 | int64(max(id.BatchIdx(), 0))
}

// pulsarMessageOf makes a message of about 100 bytes.
func pulsarMessageOf(m *Message) *pulsar.ProducerMessage {
	return &pulsar.ProducerMessage{Key: m.Key, Payload: fmt.Appendf(nil, "%-90d", m.Number)}
}

func (p *pulsarCluster) producer(place Place) (pulsar.Producer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if producer := p.producers[place]; producer != nil {
		return producer, nil
	}
	producer, err := p.client.CreateProducer(pulsar.ProducerOptions{
		Topic: p.full(place), SendTimeout: -1, DisableBatching: p.batch == 0,
		BatchingMaxMessages: uint(p.batch), BatchingMaxPublishDelay: 5 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("producer of %s: %w", p.full(place), err)
	}
	p.producers[place] = producer
	return producer, nil
}

// Source returns how a member reads the topic.
func (p *pulsarCluster) Source(stream, group string) (string, any) {
	args := pulsarArgs{URL: p.url, Topic: stream, Subscription: subscription(group), CA: p.ca, TokenFile: p.token}
	if p.store != nil {
		args.Store = remoteStore(p.store.URL)
	}
	return "pulsar", args
}

// subscription is a name without slashes, with which the admin would have trouble.
func subscription(group string) string { return group[strings.LastIndex(group, "/")+1:] }

// Progress is what the store has, or else what the broker's cursors say.
func (p *pulsarCluster) Progress(ctx context.Context, stream, group string) (map[int32]*commit.Progress, error) {
	if p.store != nil {
		return p.store.progress(stream), nil
	}
	p.mu.Lock()
	logs := map[int32][]stored{}
	for place, log := range p.logs {
		if place.Stream == stream {
			logs[place.Partition] = log
		}
	}
	p.mu.Unlock()
	all := map[int32]*commit.Progress{}
	for n, log := range logs {
		c, err := p.cursor(ctx, p.full(Place{stream, n}), subscription(group))
		if err != nil {
			return nil, fmt.Errorf("%s/%d: %w", stream, n, err)
		}
		if c != nil {
			all[n] = c.progress(log)
		}
	}
	return all, nil
}

// Restart ends the broker and starts it again.
func (p *pulsarCluster) Restart(ctx context.Context, node int, kill bool, note func(Kind)) error {
	p.moving.Lock()
	defer p.moving.Unlock()
	p.endProducers("")
	return restarts(ctx, p.control, p.service, node, kill, note)
}

func (p *pulsarCluster) control(ctx context.Context, args ...string) error {
	program := os.Getenv("KEYSTRAND_PULSAR_CTL")
	if program == "" {
		p.t.Skip("KEYSTRAND_PULSAR_CTL is not set: eval \"$(tools/services/services env)\"")
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// MoveLeaders unloads the partitions of the stream: the broker closes everything that has to do with them, and loads them
// again for the first who comes. What it confirms meanwhile may be gone with them.
func (p *pulsarCluster) MoveLeaders(ctx context.Context, stream string, note func(Kind)) error {
	p.moving.Lock()
	defer p.moving.Unlock()
	p.endProducers(stream)
	note(Stopping)
	defer note(Gone)
	return p.admin.Unload(ctx, p.topic(stream))
}

// endProducers ends those of a stream, or all, before they lose their connection: one of the client library that connects
// again has a data race. What is produced afterwards makes new ones.
func (p *pulsarCluster) endProducers(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for place, producer := range p.producers {
		if stream == "" || place.Stream == stream {
			producer.Close()
			delete(p.producers, place)
		}
	}
}

// fewer makes scenarios of a size for a broker whose every message is an entry of its own, written to disk; and with
// outputs, two.
func fewer(s scenario) scenario {
	most := 24_000
	if s.outputs {
		most = 10_000
	}
	s.messages = min(s.withDefaults().messages, most)
	s.keys = 2_000
	return s
}

func TestLivePulsar(t *testing.T) {
	runScenarios(t, newPulsar(t, "KEYSTRAND_PULSAR", "pulsar"), func(s scenario) bool {
		return steady(s) && s.name != frozen
	}, fewer)
}

// frozen is the scenario in which Pulsar's broker decides when it gives up a member, and what it keeps of the member's
// last acknowledgements.
const frozen = "MembersAreFrozen"

// Soak: the broker is stopped and killed, and gives up members that are frozen.
func TestSoakPulsar(t *testing.T) {
	runScenarios(t, newPulsar(t, "KEYSTRAND_PULSAR", "pulsar"), func(s scenario) bool {
		return restless(s) || s.name == frozen
	}, fewer)
}

// batched is a cluster whose entries hold many messages, which are settled one by one and acknowledged together.
func batched(t *testing.T) *pulsarCluster {
	t.Helper()
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	p.batch = 20
	return p
}

func TestLivePulsarBatches(t *testing.T) {
	runScenarios(t, batched(t), named("MembersJoinAndLeave", "MembersAreKilled", "StuckKey"), fewer)
}

// Soak: the broker is stopped and killed.
func TestSoakPulsarBatches(t *testing.T) {
	runScenarios(t, batched(t), restless, fewer)
}

// withStore is a cluster of batches whose members keep their progress in a store.
func withStore(t *testing.T) *pulsarCluster {
	t.Helper()
	p := batched(t)
	p.store = newStoreServer(t)
	p.index = false // with a store offsets are packed
	// A log of which all is settled would be empty, and of an empty log the source believes no store.
	p.strict(t, map[string]any{"retention": map[string]int{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}})
	return p
}

// TestLivePulsarStore: what is settled inside batches outlives members that are killed.
func TestLivePulsarStore(t *testing.T) {
	runScenarios(t, withStore(t), named("MembersAreKilled"), fewer)
}

// TestSoakPulsarStore: a member that was frozen stores nothing any more, and progress outlives the broker.
//
// Soak: the broker is stopped and killed, and gives up members that are frozen.
func TestSoakPulsarStore(t *testing.T) {
	runScenarios(t, withStore(t), named(frozen, "NodeRestarts"), fewer)
}

// newDefault is a broker with default settings: it does not number messages.
func newDefault(t *testing.T) *pulsarCluster {
	t.Helper()
	p := newPulsar(t, "KEYSTRAND_PULSAR_DEFAULT", "pulsar-default")
	p.index = false
	return p
}

func TestLivePulsarDefault(t *testing.T) {
	p := newDefault(t)
	runScenarios(t, p, named("MembersJoinAndLeave"), fewer)
	p.batch = 20
	runScenarios(t, p, named("MembersAreKilled"), fewer)
}

// Soak: the broker is stopped and killed.
func TestSoakPulsarDefault(t *testing.T) {
	runScenarios(t, newDefault(t), restless, fewer)
}
