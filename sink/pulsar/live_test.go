package pulsar

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsartest"
	"github.com/keystrand/keystrand/internal/pulsarwire"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/sinktest"
	"github.com/keystrand/keystrand/source/memory"
)

func liveVariable(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Skipf("%s is not set: start a broker with tools/services, as its README.md says, and take its env", name)
	}
	return v
}

// live is a real broker.
type live struct {
	url    string
	admin  *pulsartest.Admin
	client pulsar.Client
}

func newLive(t *testing.T) *live {
	t.Helper()
	l := &live{url: liveVariable(t, "KEYSTRAND_PULSAR"), admin: &pulsartest.Admin{URL: liveVariable(t, "KEYSTRAND_PULSAR_ADMIN")}}
	c, err := pulsar.NewClient(pulsar.ClientOptions{URL: l.url, Logger: noter{log.DefaultNopLogger()}, OperationTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l.client = c
	return l
}

// ask posts to the broker's web service.
func (l *live) ask(t *testing.T, path string, body any) {
	t.Helper()
	if err := l.admin.Do(t.Context(), http.MethodPost, path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// topic creates a topic with this number of partitions (0: not partitioned) and deletes it when the test ends.
func (l *live) topic(t *testing.T, namespace string, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("persistent://%s/sink-%s-%d", namespace, strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"), time.Now().UnixNano())
	if err := l.admin.Create(t.Context(), name, partitions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.admin.Remove(context.Background(), name, partitions); err != nil {
			t.Log(err)
		}
	})
	return name
}

// namespace creates a namespace with a retention policy. Without one, an unload could delete messages without a subscription.
func (l *live) namespace(t *testing.T) string {
	t.Helper()
	keep := map[string]int{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
	name, err := l.admin.Namespace(t.Context(), map[string]any{"retention": keep})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// stored is one message and its entry.
type stored struct {
	keystrand.Message

	entry string
}

// read returns all messages of a topic, in order for each partition.
func (l *live) read(ctx context.Context, topic string) ([]stored, error) {
	partitions, err := l.client.TopicPartitions(topic)
	if err != nil {
		return nil, err
	}
	var all []stored
	for n, p := range partitions {
		r, err := l.client.CreateReader(pulsar.ReaderOptions{Topic: p, StartMessageID: pulsar.EarliestMessageID()})
		for isAway(err) && ctx.Err() == nil { // the topic is being unloaded or was just loaded
			r, err = l.client.CreateReader(pulsar.ReaderOptions{Topic: p, StartMessageID: pulsar.EarliestMessageID()})
		}
		if err != nil {
			return nil, err
		}
		for r.HasNext() {
			m, err := r.Next(ctx)
			if err != nil {
				r.Close()
				return nil, err
			}
			s := stored{keystrand.Message{Stream: topic, Partition: int32(n), Value: m.Payload(), Time: m.EventTime()}, fmt.Sprint(m.ID().LedgerID(), ":", m.ID().EntryID())}
			notes, _ := pulsarwire.NotesOf(m.ProducerName())
			note, _ := notes.At(int(m.ID().BatchIdx()), m.Key())
			switch note.Kind {
			case pulsarwire.KeyBytes:
				s.Key, _ = base64.StdEncoding.DecodeString(m.Key())
			case pulsarwire.KeyText:
				s.Key = []byte(m.Key())
			case pulsarwire.KeyNone, pulsarwire.KeyNull:
			}
			for k, v := range m.Properties() {
				s.Headers = append(s.Headers, keystrand.Header{Key: k, Value: []byte(v)})
			}
			all = append(all, s)
		}
		r.Close()
	}
	return all, nil
}

func isAway(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "ServiceNotReady") || strings.Contains(err.Error(), "PersistenceError"))
}

func (l *live) readMust(t *testing.T, topic string) []keystrand.Message {
	t.Helper()
	all, err := l.read(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return plain(all)
}

func plain(all []stored) (ms []keystrand.Message) {
	for _, s := range all {
		ms = append(ms, s.Message)
	}
	return ms
}

func liveWriter(t *testing.T, url, topic string, cfg Config) sink.Writer {
	t.Helper()
	s, err := New(url, topic, cfg)
	if err != nil {
		t.Fatal(err)
	}
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
	})
	return w
}

func liveContract(t *testing.T, l *live, namespace string, cfg Config) {
	t.Helper()
	sinktest.Run(t, func(t *testing.T) *sinktest.Env {
		t.Helper()
		topic := l.topic(t, namespace, 4)
		cfg.ByStream = true
		s, err := New(l.url, "", cfg)
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Env{
			Sink:          s,
			Stream:        topic,
			EmptyIsNull:   true,
			HeadersAreMap: true,
			MaxBytes:      5 << 20,
			Trouble:       func() { go func() { _ = l.admin.Unload(context.Background(), topic) }() },
			Stored: func(ctx context.Context) ([]keystrand.Message, error) {
				all, err := l.read(ctx, topic)
				return plain(all), err
			},
		}
	})
}

func TestLiveSinkKeepsTheContract(t *testing.T) {
	l := newLive(t)
	liveContract(t, l, l.namespace(t), Config{})
}

func TestLiveMixedAndCompressedBatchesKeepTheContract(t *testing.T) {
	l := newLive(t)
	liveContract(t, l, l.namespace(t), Config{MixKeys: true, Compression: pulsar.ZSTD})
}

// With deduplication enabled, the broker must drop only messages that the library sends again.
//
// Soak: the topic is unloaded again and again while it is written to.
func TestSoakDeduplicationLosesNothing(t *testing.T) {
	l := newLive(t)
	ns := l.namespace(t)
	l.ask(t, "namespaces/"+ns+"/deduplication", true)
	for _, mix := range []bool{false, true} {
		t.Run(fmt.Sprint("mixed ", mix), func(t *testing.T) {
			liveContract(t, l, ns, Config{MixKeys: mix})
			liveUnloads(t, l, ns, Config{MixKeys: mix, MaxBatchBytes: 1000})
		})
	}
}

// liveUnloads writes rounds while the topic is unloaded again and again.
func liveUnloads(t *testing.T, l *live, namespace string, cfg Config) {
	t.Helper()
	topic := l.topic(t, namespace, 3)
	w := liveWriter(t, l.url, topic, cfg)
	var wg sync.WaitGroup
	writeUntilDurable(t, w, func(int) {
		wg.Go(func() {
			if err := l.admin.Unload(t.Context(), topic); err != nil {
				t.Log(err) // the writer checks the effect
			}
		})
	})
	wg.Wait()
	checkOrder(t, l.readMust(t, topic), true)
}

// Soak: the topic is unloaded again and again while it is written to.
func TestSoakUnloadsKeepTheOrder(t *testing.T) {
	l := newLive(t)
	liveUnloads(t, l, l.namespace(t), Config{MaxBatchBytes: 1000})
}

// Soak: the broker is killed.
func TestSoakKilledBrokerKeepsTheOrder(t *testing.T) {
	l := newLive(t)
	ctl := liveVariable(t, "KEYSTRAND_PULSAR_CTL")
	topic := l.topic(t, l.namespace(t), 3)
	w := liveWriter(t, l.url, topic, Config{MaxBatchBytes: 1000, HealTimeout: 2 * time.Second, RequestTimeout: 2 * time.Second})
	started := make(chan error, 1)
	writeUntilDurable(t, w, func(round int) {
		if round != 4 {
			return
		}
		if out, err := exec.CommandContext(t.Context(), ctl, "kill", "pulsar", "1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		go func() {
			out, err := exec.CommandContext(context.Background(), ctl, "start", "pulsar", "1").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			started <- err
		}()
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	checkOrder(t, l.readMust(t, topic), true)
}

func TestLiveBatchesHoldOneKeyAndKeysStayInTheirPartition(t *testing.T) {
	l := newLive(t)
	topic := l.topic(t, l.namespace(t), 7)
	var ms []keystrand.Message
	for i := range 700 {
		ms = append(ms, keyed(fmt.Sprintf("key%d=%d", i%70, i), fmt.Sprintf("käse%d=%d", i%7, i))...)
	}
	if err := liveWriter(t, l.url, topic, Config{Partitioner: GoStringHash}).Write(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	if err := liveWriter(t, l.url, topic, Config{Partitioner: Murmur3}).Write(t.Context(), keyed("murmur1=a", "murmur2=a", "murmur3=a", "murmur4=a")); err != nil {
		t.Fatal(err)
	}
	for scheme, keys := range map[pulsar.HashingScheme][]string{
		pulsar.JavaStringHash: {"key1", "key2", "key30", "key69", "käse1", "käse6"},
		pulsar.Murmur3_32Hash: {"murmur1", "murmur2", "murmur3", "murmur4"},
	} {
		p, err := l.client.CreateProducer(pulsar.ProducerOptions{Topic: topic, HashingScheme: scheme})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if _, err := p.Send(t.Context(), &pulsar.ProducerMessage{Key: k, Payload: []byte("library")}); err != nil {
				t.Fatal(err)
			}
		}
		p.Close()
	}
	all, err := l.read(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	partition, entries, multiple := make(map[string]int32), make(map[string]string), 0
	for _, s := range all {
		if p, ok := partition[string(s.Key)]; ok && p != s.Partition {
			t.Errorf("key %s is in the partitions %d and %d", s.Key, p, s.Partition)
		}
		partition[string(s.Key)] = s.Partition
		entry := fmt.Sprint(s.Partition, ":", s.entry)
		if k, ok := entries[entry]; ok {
			multiple++
			if k != string(s.Key) {
				t.Errorf("entry %s holds the keys %s and %s", entry, k, s.Key)
			}
		}
		entries[entry] = string(s.Key)
	}
	if multiple == 0 {
		t.Error("no entry has more than one message")
	}
}

func TestLiveLargestMessageIsStoredAndALargerOneRefused(t *testing.T) {
	l := newLive(t)
	topic := l.topic(t, l.namespace(t), 0)
	w := liveWriter(t, l.url, topic, Config{})
	fits := func(m keystrand.Message) keystrand.Message { // the largest value that the sink accepts
		cfg := Config{}.withDefaults()
		var out pulsar.ProducerMessage
		m.Value = []byte{} // a null value would have a property
		if err := fillMessage(&out, &m, &cfg); err != nil {
			t.Fatal(err)
		}
		m.Value = bytes.Repeat([]byte("x"), cfg.MaxMessageBytes-around-sizeOf(&out))
		return m
	}
	ms := []keystrand.Message{
		fits(keystrand.Message{}), fits(keystrand.Message{Key: bytes.Repeat([]byte("k"), 1000)}),
		fits(keystrand.Message{Headers: []keystrand.Header{{Key: "h", Value: bytes.Repeat([]byte("h"), 2_000_000)}}}),
	}
	start := time.Now()
	if err := w.Write(t.Context(), ms); err != nil {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
	ms[0].Value = append(ms[0].Value, 'x')
	if o, _ := keystrand.OutcomeOf(w.Write(t.Context(), ms[:1])); o != keystrand.OutcomePermanent {
		t.Errorf("a byte more: %v", o)
	}
	// MaxMessageBytes is higher than the limit of the broker.
	w = liveWriter(t, l.url, topic, Config{MaxMessageBytes: 50 << 20})
	ms[0].Value = bytes.Repeat([]byte("x"), 5<<20-10) // exceeds the limit only with the overhead of its batch
	ms[1] = keyed("k=1")[0]
	err := w.Write(t.Context(), ms[:2])
	p, ok := errors.AsType[*sink.PartialError](err)
	if !ok || p.Errs[1] != nil {
		t.Fatal(err)
	}
	if o, _ := keystrand.OutcomeOf(p.Errs[0]); o != keystrand.OutcomePermanent {
		t.Errorf("beyond the broker's limit: %v", err)
	}
}

func TestLiveTerminatedTopicIsPermanent(t *testing.T) {
	l := newLive(t)
	topic := l.topic(t, l.namespace(t), 0)
	w := liveWriter(t, l.url, topic, Config{})
	if err := w.Write(t.Context(), keyed("a=1")); err != nil {
		t.Fatal(err)
	}
	l.ask(t, pulsartest.Path(topic)+"/terminate", nil)
	start := time.Now()
	err := w.Write(t.Context(), keyed("a=2"))
	if err != nil && time.Since(start) >= 10*time.Second { // the library may ignore the first refusal
		err = w.Write(t.Context(), keyed("a=2"))
	}
	if p, ok := errors.AsType[*sink.PartialError](err); ok {
		err = p.Errs[0]
	}
	t.Logf("after %v: %v", time.Since(start), err)
	if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || !strings.Contains(fmt.Sprint(err), topic) {
		t.Errorf("error: %v", err)
	}
}

// A topic with a schema stores bytes unchanged, unless its namespace requires a schema of producers.
func TestLiveTopicWithASchema(t *testing.T) {
	l := newLive(t)
	ns := l.namespace(t)
	topic := l.topic(t, ns, 0)
	schema := map[string]any{"type": "STRING", "schema": "", "properties": map[string]string{}}
	l.ask(t, "schemas/"+strings.TrimPrefix(topic, "persistent://")+"/schema", schema)
	w := liveWriter(t, l.url, topic, Config{})
	if err := w.Write(t.Context(), keyed("a=1")); err != nil {
		t.Fatal(err)
	}
	if got := values(l.readMust(t, topic)); got["a"] != "1" {
		t.Errorf("stored are %v", got)
	}

	l.ask(t, "namespaces/"+ns+"/schemaValidationEnforced", true)
	strict := l.topic(t, ns, 0)
	l.ask(t, "schemas/"+strings.TrimPrefix(strict, "persistent://")+"/schema", schema)
	err := liveWriter(t, l.url, strict, Config{}).Write(t.Context(), keyed("a=1"))
	if p, ok := errors.AsType[*sink.PartialError](err); ok {
		err = p.Errs[0]
	}
	if text := fmt.Sprint(err); !strings.Contains(text, "IncompatibleSchema") || !strings.Contains(text, strict) {
		t.Errorf("error: %v", err)
	}
}

func TestLiveQuotaIsBackPressure(t *testing.T) {
	l := newLive(t)
	ns := l.namespace(t)
	for _, policy := range []string{"producer_exception", "producer_request_hold"} {
		t.Run(policy, func(t *testing.T) {
			l.ask(t, "namespaces/"+ns+"/backlogQuota?backlogQuotaType=destination_storage",
				map[string]any{"limitSize": 20_000, "limitTime": -1, "policy": policy})
			topic := l.topic(t, ns, 0)
			c, err := l.client.Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "s"})
			if err != nil {
				t.Fatal(err)
			}
			ms := keyed("a=1", "a=2")
			for i := range ms {
				ms[i].Value = make([]byte, 20_000)
			}
			if err := liveWriter(t, l.url, topic, Config{}).Write(t.Context(), ms); err != nil {
				t.Fatal(err)
			}
			w := liveWriter(t, l.url, topic, Config{HealTimeout: time.Second})
			err = w.Write(t.Context(), keyed("a=3"))
			if o, _ := keystrand.OutcomeOf(err); err == nil || o == keystrand.OutcomePermanent || !strings.Contains(err.Error(), "Quota") {
				t.Errorf("above the quota: %v", err)
			}
			t.Log(err)
			for range ms {
				m, err := c.Receive(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ack(m); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			left := keyed("a=3")
			for len(left) > 0 {
				left = leftOf(t, w.Write(t.Context(), left), left)
			}
		})
	}
}

func liveTLS(t *testing.T, token string) (url string, cfg Config) {
	t.Helper()
	url = liveVariable(t, "KEYSTRAND_PULSAR_TLS")
	pem, err := os.ReadFile(liveVariable(t, "KEYSTRAND_PULSAR_CA"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in KEYSTRAND_PULSAR_CA")
	}
	cfg = Config{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, RequestTimeout: 2 * time.Second, HealTimeout: 5 * time.Second}
	if token != "" {
		cfg.Authentication = pulsar.NewAuthenticationTokenFromFile(liveVariable(t, token))
	}
	return url, cfg
}

func TestLiveTokenAndTLS(t *testing.T) {
	url, cfg := liveTLS(t, "KEYSTRAND_PULSAR_TOKEN")
	topic := fmt.Sprintf("persistent://%s/sink-%d", liveVariable(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE"), time.Now().UnixNano())
	if err := liveWriter(t, url, topic, cfg).Write(t.Context(), keyed("a=1", "b=1", "a=2")); err != nil {
		t.Error(err)
	}
}

func TestLiveRefusals(t *testing.T) {
	for name, x := range map[string]struct {
		token   string
		change  func(cfg *Config)
		outcome keystrand.Outcome
		want    string
	}{
		"no permission": {token: "KEYSTRAND_PULSAR_TOKEN_DENIED", outcome: keystrand.OutcomePermanent, want: "AuthorizationError"},
		"wrong token": {
			change:  func(cfg *Config) { cfg.Authentication = pulsar.NewAuthenticationToken("e30.e30.wrong-secret") },
			outcome: keystrand.OutcomeFailed, want: "refuses the connection",
		},
		"no token":          {outcome: keystrand.OutcomeFailed, want: "refuses the connection"},
		"unknown authority": {token: "KEYSTRAND_PULSAR_TOKEN", change: func(cfg *Config) { cfg.TLS = nil }, outcome: keystrand.OutcomeFailed, want: "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			url, cfg := liveTLS(t, x.token)
			if x.change != nil {
				x.change(&cfg)
			}
			topic := fmt.Sprintf("persistent://%s/sink-%d", liveVariable(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE"), time.Now().UnixNano())
			start := time.Now()
			err := liveWriter(t, url, topic, cfg).Write(t.Context(), keyed("a=1"))
			t.Logf("after %v: %v", time.Since(start), err)
			if p, ok := errors.AsType[*sink.PartialError](err); ok {
				err = p.Errs[0]
			}
			if o, _ := keystrand.OutcomeOf(err); err == nil || o != x.outcome || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), topic) {
				t.Errorf("error: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Error("error contains a secret")
			}
		})
	}
}

// The topic may be created later, so the error is returned without a retry and is not permanent.
func TestLiveMissingTopicAndNamespace(t *testing.T) {
	l := newLive(t)
	ns := l.namespace(t)
	l.ask(t, "namespaces/"+ns+"/autoTopicCreation", map[string]bool{"allowAutoTopicCreation": false})
	for _, topic := range []string{"persistent://" + ns + "/absent", "persistent://public/nowhere/absent", "persistent://noone/nowhere/absent"} {
		t.Run(topic, func(t *testing.T) {
			start := time.Now()
			err := liveWriter(t, l.url, topic, Config{HealTimeout: time.Hour}).Write(t.Context(), keyed("a=1"))
			t.Logf("after %v: %v", time.Since(start), err)
			if p, ok := errors.AsType[*sink.PartialError](err); ok {
				err = p.Errs[0]
			}
			if o, _ := keystrand.OutcomeOf(err); err == nil || o != keystrand.OutcomeFailed || !strings.Contains(err.Error(), topic) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestLiveBrokerThatIsDown(t *testing.T) {
	liveVariable(t, "KEYSTRAND_PULSAR")
	w := liveWriter(t, "pulsar://127.0.0.1:1", "any", Config{RequestTimeout: time.Second, HealTimeout: 2 * time.Second})
	err := w.Write(t.Context(), keyed("a=1"))
	if o, _ := keystrand.OutcomeOf(err); err == nil || o == keystrand.OutcomePermanent || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error: %v", err)
	}
	t.Log(err)
}

// A pipeline with any source can write its dead letters to Pulsar, in order for each key.
func TestLiveDeadLettersGoToPulsar(t *testing.T) {
	l := newLive(t)
	topic := l.topic(t, l.namespace(t), 3)
	dead, err := New(l.url, topic, Config{LastHeaderWins: true})
	if err != nil {
		t.Fatal(err)
	}
	log := memory.NewLog("orders", 2)
	for i := range 20 {
		for k := range 5 {
			ms := keyed(fmt.Sprintf("k%d=%d", k, i))
			ms[0].Headers = []keystrand.Header{{Key: "trace", Value: []byte("t")}}
			log.Append(int32(k%2), ms...)
		}
	}
	log.Close()
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Key) == "k4" {
				return nil
			}
			return keystrand.Permanent(errors.New("no such account"))
		})).
		OnFailure(pipeline.DeadLetter(dead)).
		Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Error(err)
	}
	next := make(map[string]int)
	for _, m := range l.readMust(t, topic) {
		k := string(m.Key)
		if string(m.Value) != fmt.Sprint(next[k]) {
			t.Errorf("key %s: got %s, want %d", k, m.Value, next[k])
		}
		next[k]++
		for _, want := range []string{"trace=t", pipeline.HeaderStream + "=orders", pipeline.HeaderOffset + "=", pipeline.HeaderError + "="} {
			if !slices.ContainsFunc(m.Headers, func(h keystrand.Header) bool { return strings.HasPrefix(h.Key+"="+string(h.Value), want) }) {
				t.Errorf("key %s: no header %s in %v", k, want, m.Headers)
			}
		}
	}
	if len(next) != 4 || next["k0"] != 20 || next["k1"] != 20 || next["k2"] != 20 || next["k3"] != 20 {
		t.Errorf("dead letters: %v", next)
	}
}

// A frozen broker neither confirms nor refuses. Write and Close must time out.
//
// Soak: the broker is frozen.
func TestSoakPausedBrokerIsReportedAndGoesOn(t *testing.T) {
	l := newLive(t)
	ctl := liveVariable(t, "KEYSTRAND_PULSAR_CTL")
	topic := l.topic(t, l.namespace(t), 3)
	cfg := Config{MaxBatchBytes: 1000, HealTimeout: 2 * time.Second, RequestTimeout: time.Second}
	w := liveWriter(t, l.url, topic, cfg)
	do := func(what string) {
		if out, err := exec.CommandContext(t.Context(), ctl, what, "pulsar", "1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	writeUntilDurable(t, w, func(round int) {
		if round != 4 {
			return
		}
		s, err := New(l.url, topic, cfg) // another sink, closed while the broker is frozen
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Write(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		do("pause")
		start := time.Now()
		err = other.Write(t.Context(), keyed("other=0"))
		t.Logf("Write returned after %v: %v", time.Since(start), err)
		if err == nil {
			t.Error("Write to a frozen broker returned no error")
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		start = time.Now()
		err = s.Close()
		t.Logf("Close returned after %v: %v", time.Since(start), err)
		time.AfterFunc(3*time.Second, func() { do("resume") })
	})
	ms := slices.DeleteFunc(l.readMust(t, topic), func(m keystrand.Message) bool { return string(m.Key) == "other" })
	checkOrder(t, ms, true)
}

// noter is a logger of the library that adds notes to the messages it receives, as the source does.
type noter struct{ log.Logger }

func (n noter) SubLogger(log.Fields) log.Logger { return n }

func (noter) Debugf(format string, args ...any) { pulsarwire.Line(format, args) }
