package pulsar

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pulsartest"
	"github.com/keystrand/keystrand/source"
)

// namespaces are those that strict has made, by the URL of the broker.
var namespaces struct {
	sync.Mutex

	made map[string]string
}

// strict is a namespace in which brokers do not create topics by themselves. It is one for all tests, which give their
// topics names of their own.
func (l live) strict(t *testing.T) string {
	t.Helper()
	namespaces.Lock()
	defer namespaces.Unlock()
	if ns := namespaces.made[l.admin.URL]; ns != "" {
		return ns
	}
	ns, err := l.admin.Namespace(t.Context(), map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}})
	if err != nil {
		t.Fatal(err)
	}
	if namespaces.made == nil {
		namespaces.made = make(map[string]string)
	}
	namespaces.made[l.admin.URL] = ns
	return ns
}

// reader is a source of a real broker that is closed, with all its partitions, when the test ends.
type reader struct {
	t   *testing.T
	s   *Source
	err error // that refused has found
}

func (l live) reader(t *testing.T, cfg Config, subscription string, topics ...string) *reader {
	t.Helper()
	s, err := New(l.url, subscription, topics, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &reader{t: t, s: s}
}

func (r *reader) accept() source.Partition {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 40*time.Second)
	defer cancel()
	p, err := r.s.Accept(ctx)
	if err != nil {
		r.t.Fatalf("accept: %v; trouble %v", err, r.s.Report().Trouble)
	}
	return p
}

// refused waits for the error of Accept and checks what it says.
func (r *reader) refused(within time.Duration, want error, says ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	p, err := r.s.Accept(ctx)
	r.err = err
	if err == nil || ctx.Err() != nil || want != nil && !errors.Is(err, want) {
		r.t.Fatalf("accept = %v, %v, want %v; trouble %v", p, err, want, r.s.Report().Trouble)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			r.t.Errorf("accept = %v, want it to say %q", err, text)
		}
	}
}

func release(t *testing.T, p source.Partition) {
	t.Helper()
	if err := p.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func values(msgs []keystrand.Message) string {
	var all []string
	for _, m := range msgs {
		all = append(all, string(m.Value))
	}
	return strings.Join(all, " ")
}

func TestLiveNobodyAnswers(t *testing.T) {
	l := liveBroker(t)
	cfg := l.config(t)
	cfg.StartTimeout, cfg.OperationTimeout = 3*time.Second, 2*time.Second
	l.url = "pulsar://127.0.0.1:1"
	l.reader(t, cfg, "s", "orders").refused(30*time.Second, ErrStartTimeout, "127.0.0.1:1", "orders", `"s"`, "refused")
}

func TestLiveMissingTopicAndNamespace(t *testing.T) {
	l := liveBroker(t)
	ns := l.strict(t)
	for _, topic := range []string{"persistent://" + ns + "/absent", "persistent://public/nowhere/absent", "persistent://noone/nowhere/absent"} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			l.reader(t, l.config(t), "s", topic).refused(30*time.Second, ErrTopicMissing, topic, `"s"`)
		})
	}
}

// Soak: the topic is deleted under its owner.
func TestSoakTopicThatComesLaterAndGoes(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := "persistent://" + l.strict(t) + "/late"
	t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, 2) })
	cfg := l.config(t)
	cfg.WatchTopics, cfg.WatchInterval = true, time.Second
	r := l.reader(t, cfg, "s", topic)
	time.AfterFunc(2*time.Second, func() { _ = l.admin.Create(context.Background(), topic, 2) }) // real time: a broker is asked
	l.goes(t, r, topic, func() error { return l.admin.Remove(t.Context(), topic, 2) }, func() error { return l.admin.Create(t.Context(), topic, 2) })
}

// Whoever attaches to a partition makes it there: the source's candidate, which comes back at once, and producers. What was
// deleted is another log all the same, and the broker refuses to make the whole topic again: it sees some of its partitions.
//
// Soak: the topic is deleted under its owner.
func TestSoakTopicGoesWhereBrokersMakeTopics(t *testing.T) {
	t.Parallel()
	l := liveDefault(t)
	topic := l.topic(t, 2)
	cfg := l.config(t)
	cfg.WatchInterval = time.Second
	r := l.reader(t, cfg, "s", topic)
	l.goes(t, r, topic, func() error {
		var errs []error
		for n := range int32(2) {
			errs = append(errs, l.admin.Remove(t.Context(), partitionName(topic, n), 0))
		}
		return errors.Join(errs...)
	}, func() error { return nil })
}

// goes deletes a topic of two partitions under its reader and makes it again, twice.
func (l live) goes(t *testing.T, r *reader, topic string, remove, create func() error) {
	t.Helper()
	held := map[int32]source.Partition{}
	for range 2 {
		p := r.accept()
		held[p.ID().Partition] = p
	}
	for _, deleted := range []time.Duration{0, 3 * time.Second} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(deleted) // real time: absent for several looks, or made again before the next one
		if err := create(); err != nil {
			t.Fatal(err)
		}
		for n := range int32(2) {
			if err := send(t.Context(), l.producer(t, partitionName(topic, n), nil), numbered(0, 3)...); err != nil {
				t.Fatal(err)
			}
		}
		// Each is lost and comes again; or the library was quick, and attached to the new one without a word.
		for _, n := range []int32{0, 1} {
			for got := 0; got < 3; {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				b := source.Batch{MaxMessages: 3 - got, MaxBytes: 1 << 20}
				err := held[n].Fetch(ctx, &b)
				cancel()
				got += len(b.Messages)
				switch {
				case errors.Is(err, source.ErrLeaving):
					release(t, held[n])
					for p := r.accept(); ; p = r.accept() {
						held[p.ID().Partition] = p
						if p.ID().Partition == n {
							break
						}
					}
				case err != nil:
					t.Fatalf("partition %d, absent for %v: %v; report %+v", n, deleted, err, r.s.Report())
				}
			}
		}
	}
	for _, p := range held {
		release(t, p)
	}
}

func TestLiveSubscriptionOfSomebodyElse(t *testing.T) {
	l := liveBroker(t)
	for _, typ := range []pulsar.SubscriptionType{pulsar.Shared, pulsar.KeyShared, pulsar.Failover} {
		t.Run(fmt.Sprint("type ", typ), func(t *testing.T) {
			t.Parallel()
			topic := l.topic(t, 0)
			c, err := l.client(t).Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "s", Type: typ})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			l.reader(t, l.config(t), "s", topic).refused(30*time.Second, nil, topic, `"s"`, "another type")
		})
	}
	t.Run("that of the candidates", func(t *testing.T) {
		t.Parallel()
		topic := l.topic(t, 0)
		c, err := l.client(t).Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "s-owner", Type: pulsar.Shared})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l.reader(t, l.config(t), "s", topic).refused(30*time.Second, nil, topic, `"s-owner"`, "delete it")
	})
	t.Run("exclusive", func(t *testing.T) {
		t.Parallel()
		topic := l.topic(t, 0)
		c, err := l.client(t).Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "s"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cfg := l.config(t)
		cfg.BusyTimeout = 2 * time.Second
		cfg.Alone = true
		l.reader(t, cfg, "s", topic).refused(30*time.Second, ErrBusy, topic, `"s"`)
		cfg.Alone = false
		r := l.reader(t, cfg, "s", topic)
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if _, err := r.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if tr := r.s.Report().Trouble; len(tr) != 1 || !errors.Is(tr[0].Err, ErrBusy) {
			t.Errorf("trouble is %v", tr)
		}
		c.Close()
		release(t, r.accept())
	})
}

func TestLiveSecurity(t *testing.T) {
	url := liveEnv(t, "KEYSTRAND_PULSAR_TLS", "pulsar-tls")
	ns := liveEnv(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE", "pulsar-tls")
	file := func(name string) string {
		b, err := os.ReadFile(liveEnv(t, name, "pulsar-tls"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(file("KEYSTRAND_PULSAR_CA")))
	good := &tls.Config{RootCAs: pool}
	alice := Token(file("KEYSTRAND_PULSAR_TOKEN"))
	for _, c := range []struct {
		name, url string
		tls       *tls.Config
		auth      pulsar.Authentication
		want      error
		says      []string // none: it works
	}{
		{"token over tls", url, good, alice, nil, nil},
		{"token of a function", url, good, TokenFrom(func() (string, error) { return file("KEYSTRAND_PULSAR_TOKEN"), nil }), nil, nil},
		{"token of an authorization server", url, good, oauth2Of(t, file("KEYSTRAND_PULSAR_TOKEN"), "secret"), nil, nil},
		{"refused by an authorization server", url, good, oauth2Of(t, file("KEYSTRAND_PULSAR_TOKEN"), "guessed"), ErrRefused, []string{"invalid_client"}},
		{"wrong token", url, good, Token("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.nonsense"), ErrRefused, []string{"Authentication", "credentials", strings.TrimPrefix(url, "pulsar+ssl://")}},
		{"no token", url, good, nil, ErrRefused, []string{"Authentication", "credentials"}},
		{"no permission", url, good, Token(file("KEYSTRAND_PULSAR_TOKEN_DENIED")), nil, []string{"not permitted", "grant"}},
		{"unknown authority", url, &tls.Config{RootCAs: x509.NewCertPool()}, alice, nil, []string{"TLS", "certificate", "unknown authority"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := live{url: c.url}
			cfg := l.config(t)
			cfg.TLS, cfg.Authentication = c.tls, c.auth
			topic := fmt.Sprintf("persistent://%s/t%d", ns, time.Now().UnixNano())
			r := l.reader(t, cfg, "s", topic)
			if len(c.says) == 0 {
				release(t, r.accept())
				return
			}
			r.refused(40*time.Second, c.want, append(c.says, topic, `"s"`)...)
			for _, token := range []string{file("KEYSTRAND_PULSAR_TOKEN"), file("KEYSTRAND_PULSAR_TOKEN_DENIED"), "nonsense"} {
				if strings.Contains(r.err.Error(), token) {
					t.Errorf("accept = %v, want no token in its error", r.err)
				}
			}
		})
	}
}

// TestLivePermissionIsGrantedLater: a refusal is not remembered.
func TestLivePermissionIsGrantedLater(t *testing.T) {
	file := func(name string) []byte {
		b, err := os.ReadFile(liveEnv(t, name, "pulsar-tls"))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSpace(b)
	}
	l, ns := liveAt(t, "KEYSTRAND_PULSAR_TLS", "pulsar-tls"), liveEnv(t, "KEYSTRAND_PULSAR_TLS_NAMESPACE", "pulsar-tls")
	cfg := l.config(t)
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.TLS.RootCAs.AppendCertsFromPEM(file("KEYSTRAND_PULSAR_CA"))
	cfg.Authentication = Token(string(file("KEYSTRAND_PULSAR_TOKEN_DENIED")))
	l.admin.Token, l.admin.Transport = string(file("KEYSTRAND_PULSAR_TOKEN_ADMIN")), &http.Transport{TLSClientConfig: cfg.TLS}
	topic := fmt.Sprintf("persistent://%s/t%d", ns, time.Now().UnixNano())
	if err := l.admin.Create(t.Context(), topic, 0); err != nil {
		t.Fatal(err)
	}
	l.reader(t, cfg, "s", topic).refused(40*time.Second, nil, topic, "not permitted")
	carol := "namespaces/" + ns + "/permissions/carol"
	if err := l.admin.Do(t.Context(), http.MethodPost, carol, []string{"consume"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.admin.Do(context.Background(), http.MethodDelete, carol, nil, nil) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		p, err := l.reader(t, cfg, "s", topic).s.Accept(ctx)
		if err == nil {
			release(t, p)
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // real time: the broker remembers permissions for a while
	}
}

// oauth2Of authenticates as "billing" with this secret at a server that gives the token to who says "secret".
func oauth2Of(t *testing.T, token, secret string) pulsar.Authentication {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	answer := func(w http.ResponseWriter, status int, v map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"issuer": server.URL, "token_endpoint": server.URL + "/token"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, password, ok := r.BasicAuth()
		if !ok {
			id, password = r.FormValue("client_id"), r.FormValue("client_secret")
		}
		if r.FormValue("grant_type") != "client_credentials" || r.FormValue("audience") != "urn:brokers" || id != "billing" || password != "secret" {
			answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
			return
		}
		answer(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	})
	key := filepath.Join(t.TempDir(), "key.json")
	text := fmt.Sprintf(`{"type":"client_credentials","client_id":"billing","client_secret":%q,"issuer_url":%q}`, secret, server.URL)
	if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return OAuth2(map[string]string{
		"type": "client_credentials", "issuerUrl": server.URL, "audience": "urn:brokers", "privateKey": "file://" + key,
	})
}

func TestLiveWrongPort(t *testing.T) {
	for _, url := range []string{
		strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR_TLS", "pulsar-tls"), "pulsar+ssl://", "pulsar://", 1),
		strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR", "pulsar"), "pulsar://", "pulsar+ssl://", 1),
		strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR_ADMIN", "pulsar"), "http://", "pulsar://", 1),
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			l := live{url: url}
			cfg := l.config(t)
			cfg.StartTimeout, cfg.OperationTimeout = 3*time.Second, 2*time.Second
			l.reader(t, cfg, "s", "orders").refused(40*time.Second, ErrStartTimeout, url, "orders", `"s"`)
		})
	}
}

// keys is a pair of keys for messages.
type keys struct{ public, private []byte }

func newKeys(t *testing.T) *keys {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &keys{
		public:  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		private: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}),
	}
}

func (k *keys) PublicKey(name string, meta map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return crypto.NewEncryptionKeyInfo(name, k.public, meta), nil
}

func (k *keys) PrivateKey(name string, meta map[string]string) (*crypto.EncryptionKeyInfo, error) {
	return crypto.NewEncryptionKeyInfo(name, k.private, meta), nil
}

func TestLiveMessagesOfAllKinds(t *testing.T) {
	l := liveBroker(t)
	k := newKeys(t)
	encrypted := func(o *pulsar.ProducerOptions) {
		o.Encryption = &pulsar.ProducerEncryptionInfo{KeyReader: k, Keys: []string{"orders-key"}}
	}
	t.Run("encrypted", func(t *testing.T) {
		t.Parallel()
		topic := l.topic(t, 0)
		if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 1)...); err != nil {
			t.Fatal(err)
		}
		if err := send(t.Context(), l.producer(t, topic, encrypted), numbered(1, 3)...); err != nil {
			t.Fatal(err)
		}
		r := l.reader(t, l.config(t), "s", topic)
		p := r.accept()
		read(t, p, 1)
		err := p.Fetch(t.Context(), &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20})
		if !errors.Is(err, ErrEncrypted) || !strings.Contains(err.Error(), "orders-key") || !strings.Contains(err.Error(), topic) {
			t.Errorf("fetch = %v", err)
		}
		release(t, p)
		cfg := l.config(t)
		cfg.KeyReader = k
		p = l.reader(t, cfg, "s", topic).accept()
		if got := values(read(t, p, 3)); got != "0 1 2" {
			t.Errorf("read %q", got)
		}
		release(t, p)
	})
	t.Run("chunked", func(t *testing.T) {
		t.Parallel()
		topic := l.topic(t, 0)
		chunked := l.producer(t, topic, func(o *pulsar.ProducerOptions) { o.EnableChunking, o.ChunkMaxMessageSize = true, 1000 })
		large := strings.Repeat("x", 10_000)
		for n := range 3 {
			if err := send(t.Context(), chunked, keystrand.Message{Key: []byte("k"), Value: fmt.Appendf(nil, "%d%s", n, large)}); err != nil {
				t.Fatal(err)
			}
		}
		r := l.reader(t, l.config(t), "s", topic)
		p := r.accept()
		msgs := read(t, p, 3)
		if len(msgs[1].Value) != 10_001 || msgs[1].Value[0] != '1' {
			t.Errorf("message 1 is %.10s of %d bytes", msgs[1].Value, len(msgs[1].Value))
		}
		settle(t, p, msgs[1].Offset)
		release(t, p)
		p = r.accept()
		if got := read(t, p, 2); got[0].Value[0] != '1' || got[1].Value[0] != '2' {
			t.Errorf("after the first is settled comes %.1s %.1s", got[0].Value, got[1].Value)
		}
		settle(t, p, msgs[2].Offset+1)
		release(t, p)
		p = r.accept()
		nothing(t, p)
		release(t, p)
	})
	t.Run("of a schema", func(t *testing.T) {
		t.Parallel()
		topic := l.topic(t, 0)
		schema := pulsar.NewJSONSchema(`{"type":"record","name":"R","fields":[{"name":"n","type":"int"}]}`, nil)
		w := l.producer(t, topic, func(o *pulsar.ProducerOptions) { o.Schema = schema })
		if _, err := w.Send(t.Context(), &pulsar.ProducerMessage{Value: struct{ N int }{7}}); err != nil {
			t.Fatal(err)
		}
		p := l.reader(t, l.config(t), "s", topic).accept()
		if got := values(read(t, p, 1)); got != `{"N":7}` {
			t.Errorf("read %q", got)
		}
		release(t, p)
	})
}

// Soak: the topic is unloaded and terminated under its owner.
func TestSoakTopicIsUnloadedAndTerminated(t *testing.T) {
	for name, broker := range map[string]func(*testing.T) live{"numbered messages": liveBroker, "as brokers come": liveDefault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := broker(t)
			// A broker that deletes a ledger of which all is settled, while it terminates the topic, breaks it.
			ns, err := l.admin.Namespace(t.Context(), map[string]any{"retention": map[string]int{"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}})
			if err != nil {
				t.Fatal(err)
			}
			topic := "persistent://" + ns + "/ends"
			if err := l.admin.Create(t.Context(), topic, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, 0) })
			w := l.producer(t, topic, nil)
			if err := send(t.Context(), w, numbered(0, 50)...); err != nil {
				t.Fatal(err)
			}
			w.Close() // the library's producer has a data race when it reconnects
			r := l.reader(t, l.config(t), "s", topic)
			p := r.accept()
			msgs := read(t, p, 30)
			settle(t, p, msgs[20].Offset)
			if err := l.admin.Unload(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
			if err := send(t.Context(), l.producer(t, topic, nil), numbered(50, 60)...); err != nil {
				t.Fatal(err)
			}
			lost(t, p)
			if l := r.s.Report().Losses; l.Count == 0 || l.Last != p.ID() || !strings.Contains(l.Why, "unloaded") {
				t.Errorf("losses %+v, want that of %v", l, p.ID())
			}
			q := r.accept()
			if q.ID().Epoch <= p.ID().Epoch {
				t.Errorf("epoch %d after %d", q.ID().Epoch, p.ID().Epoch)
			}
			// The broker may have forgotten in the unload what it had confirmed just before; nothing else comes again or is missing.
			more := read(t, q, 1)
			first, err := strconv.Atoi(string(more[0].Value))
			if err != nil || first > 20 {
				t.Fatalf("after the unload comes %s first, want 20 or what is settled before it", more[0].Value)
			}
			more = append(more, read(t, q, 59-first)...)
			for i, m := range more {
				if string(m.Value) != strconv.Itoa(first+i) {
					t.Fatalf("after the unload comes %s as number %d behind %d", m.Value, i, first)
				}
			}
			settle(t, q, more[59-first].Offset+1)
			if err := l.admin.Do(t.Context(), http.MethodPost, pulsartest.Path(topic)+"/terminate", nil, nil); err != nil {
				t.Fatal(err)
			}
			// At the end of a topic the library closes the connection, and again when a consumer attaches there, unless the broker
			// misses to say so: an ownership may end or not, and nothing comes.
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
				err := q.Fetch(ctx, &b)
				cancel()
				if len(b.Messages) > 0 {
					t.Fatalf("%q comes from a terminated topic of which all is settled", b.Messages[0].Value)
				}
				if !errors.Is(err, source.ErrLeaving) {
					break
				}
				lost(t, q)
				q = r.accept()
			}
			release(t, q)
		})
	}
}

// lost waits until a partition is, and releases it.
func lost(t *testing.T, p source.Partition) {
	t.Helper()
	select {
	case l := <-p.Leaving():
		if !l.Lost {
			t.Errorf("%v: leaving says %+v, want lost", p.ID(), l)
		}
	case <-time.After(20 * time.Second): // real time: a broker is waited for
		t.Fatalf("%v is not lost", p.ID())
	}
	if _, err := p.Commit(t.Context(), &commit.Progress{Epoch: p.ID().Epoch, Frontier: 1 << 62}); !errors.Is(err, commit.ErrFenced) {
		t.Errorf("%v: commit = %v, want fenced", p.ID(), err)
	}
	release(t, p)
}

// Soak: the subscription is deleted under its owner.
func TestSoakSubscriptionIsDeletedUnderItsReader(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := l.topic(t, 0)
	if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 10)...); err != nil {
		t.Fatal(err)
	}
	r := l.reader(t, l.config(t), "s", topic)
	p := r.accept()
	msgs := read(t, p, 10)
	settle(t, p, msgs[4].Offset)
	if err := l.admin.Do(t.Context(), http.MethodDelete, pulsartest.Path(topic)+"/subscription/s?force=true", nil, nil); err != nil {
		t.Fatal(err)
	}
	lost(t, p)
	if l := r.s.Report().Losses; l.Count != 1 || l.Last != p.ID() {
		t.Errorf("losses %+v, want that of %v", l, p.ID())
	}
	p = r.accept() // which makes it again
	if got := values(read(t, p, 10)); got != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("after it comes %q", got)
	}
	release(t, p)
}

func TestLiveStart(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	topic := l.topic(t, 0)
	w := l.producer(t, topic, nil)
	if err := send(t.Context(), w, numbered(0, 5)...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // real time: brokers stamp milliseconds
	middle := time.Now()
	id, err := w.Send(t.Context(), &pulsar.ProducerMessage{Payload: []byte("5")})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), w, numbered(6, 8)...); err != nil {
		t.Fatal(err)
	}
	at := MessageID{Ledger: id.LedgerID(), Entry: id.EntryID()}
	past := MessageID{Ledger: 0, Entry: 7}
	for _, c := range []struct {
		name  string
		start Start
		want  string
	}{
		{"earliest", Earliest(), "0 1 2 3 4 5 6 7"},
		{"latest", Latest(), ""},
		{"time", At(middle), "5 6 7"},
		{"behind a message", After(map[string]map[int32]MessageID{topic: {0: at}}), "6 7"},
		{"an id of another cluster, below all", After(map[string]map[int32]MessageID{topic: {0: past}}), "0 1 2 3 4 5 6 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := l.config(t)
			cfg.Start, cfg.Alone = c.start, true
			p := l.reader(t, cfg, strings.ReplaceAll(c.name, " ", "-"), topic).accept()
			defer release(t, p)
			if n := len(strings.Fields(c.want)); n > 0 {
				if got := values(read(t, p, n)); got != c.want {
					t.Errorf("read %q, want %q", got, c.want)
				}
			}
			nothing(t, p)
		})
	}
	t.Run("an id of another cluster, above all", func(t *testing.T) {
		t.Parallel()
		cfg := l.config(t)
		cfg.Start, cfg.Alone = After(map[string]map[int32]MessageID{topic: {0: {Ledger: 1 << 40, Entry: 7}}}), true
		l.reader(t, cfg, "above", topic).refused(30*time.Second, errForeign, topic, `"above"`, "1099511627776:7:0")
	})
}

func TestLivePattern(t *testing.T) {
	t.Parallel()
	l := liveBroker(t)
	ns := l.strict(t)
	make1 := func(name string, partitions int) string {
		topic := "persistent://" + ns + "/" + name
		if err := l.admin.Create(t.Context(), topic, partitions); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, partitions) })
		return topic
	}
	first := make1("orders-a", 2)
	make1("other", 0)
	cfg := l.config(t)
	cfg.Pattern, cfg.Namespace, cfg.AdminURL, cfg.WatchInterval = regexp.MustCompile(`/orders-.$`), ns, l.admin.URL, time.Second
	r := l.reader(t, cfg, "s")
	got := map[string]bool{r.accept().ID().Stream: true, r.accept().ID().Stream: true}
	if !got[first] || len(got) != 1 {
		t.Fatalf("accepted %v", got)
	}
	later := make1("orders-b", 0)
	if p := r.accept(); p.ID().Stream != later {
		t.Errorf("accepted %v, want %s", p.ID(), later)
	}
}
