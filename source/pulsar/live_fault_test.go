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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// namespaces holds the namespaces that strict has made, by the URL of the broker.
var namespaces struct {
	sync.Mutex

	made map[string]string
}

// strict returns a namespace in which brokers do not create topics on request. All tests share it, with different topics.
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

// reader is a source of a real broker. It is closed, with all its partitions, when the test ends.
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

// refused waits for the error of Accept and checks its text.
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
			r.t.Errorf("accept = %v, want it to contain %q", err, text)
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

func TestLiveSubscriptionOfAnotherProgram(t *testing.T) {
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
	t.Run("of the election", func(t *testing.T) {
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
			t.Errorf("trouble = %v", tr)
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
		says      []string // none: no error
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

// oauth2Of authenticates as "billing" with this secret, at a server that expects "secret".
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
		nothing(t, p)
		err := (&member{t: t, s: r.s}).troubled("read " + topic + "/0")
		if !errors.Is(err, ErrEncrypted) || !strings.Contains(err.Error(), "orders-key") || !strings.Contains(err.Error(), topic) {
			t.Errorf("trouble = %v", err)
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
			t.Errorf("after the first is settled, messages = %.1s %.1s", got[0].Value, got[1].Value)
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
