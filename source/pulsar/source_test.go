package pulsar

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

func TestClientHookChangesOptions(t *testing.T) {
	s, err := New("pulsar://fake:6650", "billing", []string{"orders"}, Config{Client: func(o *pulsar.ClientOptions) { o.ListenerName = "inside" }})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.options().ListenerName; got != "inside" {
		t.Errorf("ListenerName = %q, want the value of the hook", got)
	}
}

// Without ChunkTimeout no message is lost, so the library must not drop a chunk.
func TestDroppedChunkIsLoggedWithAChunkTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]bool{0: false, time.Hour: true} {
		var logged strings.Builder
		s, err := New("pulsar://fake:6650", "billing", []string{"orders"}, Config{ChunkTimeout: timeout, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if drops := s.log.On.Dropped != nil; drops != want {
			t.Fatalf("ChunkTimeout %v: chunks may be dropped: %t", timeout, drops)
		}
		if want {
			s.log.On.Dropped(topic0, "chunk 1:2:-1")
			for _, text := range []string{"is lost", topic0, "1:2:-1"} {
				if !strings.Contains(logged.String(), text) {
					t.Errorf("logged %q, want it to contain %q", logged.String(), text)
				}
			}
		}
	}
}

func TestTopicGivenTwiceIsRefusedInAnySpelling(t *testing.T) {
	for _, c := range []struct {
		other string
		twice bool
	}{
		{"persistent://public/default/orders", true},
		{"public/default/orders", true},
		{"public/other/orders", false},
		{"orders-2", false},
	} {
		_, err := New("pulsar://fake:6650", "billing", []string{"orders", c.other}, Config{})
		if twice := err != nil && strings.Contains(err.Error(), "given twice"); twice != c.twice {
			t.Errorf("New with orders and %s = %v", c.other, err)
		}
	}
}

func TestCloseClosesAClientUnderConstruction(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		s, c, err := b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		connecting := make(chan struct{})
		s.connect = func() (client.Client, error) {
			close(connecting)
			<-s.failed // by Close; no sleep, since waiting for a Once stops the clock of the bubble
			return c, nil
		}
		accepted := make(chan error)
		go func() {
			_, err := s.Accept(t.Context())
			accepted <- err
		}()
		<-connecting
		if err := s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		if err := <-accepted; !errors.Is(err, errClosed) {
			t.Errorf("accept = %v", err)
		}
		if c.mu.Lock(); !c.dead {
			t.Error("the client was not closed")
		}
		c.mu.Unlock()
	})
}

func TestNewRefusesConfigurationsThatCannotWork(t *testing.T) {
	const url = "pulsar://fake:6650"
	key := func(text string) string {
		name := filepath.Join(t.TempDir(), "key.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + name
	}
	oauth := func(issuer, privateKey string) Config {
		return Config{Authentication: OAuth2(map[string]string{"type": "client_credentials", "issuerUrl": issuer, "privateKey": privateKey})}
	}
	after := Config{Alone: true, Start: After(map[string]map[int32]MessageID{"order": {0: {}}})}
	for name, c := range map[string]struct {
		url    string
		topics []string
		cfg    Config
		says   string // none: no error
	}{
		"several hosts":                      {"pulsar://a:6650,b:6650,[::1]:6650,c", []string{"orders"}, Config{}, ""},
		"a malformed second host":            {"pulsar://a:6650,b:6650:1", []string{"orders"}, Config{}, "b:6650:1"},
		"a URL for each host":                {"pulsar://a:6650,pulsar://b:6650", []string{"orders"}, Config{}, "pulsar:"},
		"an empty host":                      {"pulsar://a:6650,", []string{"orders"}, Config{}, "names no host"},
		"a password in the URL":              {"pulsar://me:secret@fake:6650", []string{"orders"}, Config{}, "Config.Authentication"},
		"a password in a malformed URL":      {"http://me:secret@fake:6650", []string{"orders"}, Config{}, "pulsar://host:6650"},
		"a password with a colon":            {"pulsar://fake:secret:@x", []string{"orders"}, Config{}, "Config.Authentication"},
		"TLS without TLS":                    {url, []string{"orders"}, Config{TLS: &tls.Config{}}, "pulsar+ssl"},
		"TLS for the web service alone":      {url, nil, Config{TLS: &tls.Config{}, Pattern: regexp.MustCompile("."), AdminURL: "https://fake"}, ""},
		"half a name":                        {url, []string{"a/b"}, Config{}, "tenant/namespace/topic"},
		"half a full name":                   {url, []string{"persistent://a/b"}, Config{}, "tenant/namespace/topic"},
		"no part of a name":                  {url, []string{"a//b"}, Config{}, "empty"},
		"another domain":                     {url, []string{"topic://a/b/c"}, Config{}, "persistent://"},
		"a legacy name":                      {url, []string{"a/cluster/b/c", "persistent://a/cluster/b/c/d"}, Config{}, ""},
		"a name that looks like a partition": {url, []string{"all-partition-keys"}, Config{}, "-partition-"},
		"a partition":                        {url, []string{"orders-partition-0", "orders-partition-1"}, Config{}, ""},
		"a partition beside its topic":       {url, []string{"public/default/orders-partition-12", "orders"}, Config{}, "is a partition of"},
		"After of an unknown topic":          {url, []string{"orders"}, after, `"order"`},
		"After of a topic that may match": {url, nil, Config{
			Alone: true, Start: after.Start, Pattern: regexp.MustCompile("ord"), AdminURL: "http://fake",
		}, ""},
		"OAuth2":                         {url, []string{"orders"}, oauth("", key(`{"client_id":"a","client_secret":"s","issuer_url":"https://x"}`)), ""},
		"OAuth2 without a key":           {url, []string{"orders"}, oauth("https://x", ""), "privateKey"},
		"OAuth2 with a key as file":      {url, []string{"orders"}, oauth("https://x", `{"client_secret":"secret"}`), "privateKey"},
		"OAuth2 with a malformed key":    {url, []string{"orders"}, oauth("https://x", key("secret")), "privateKey"},
		"OAuth2 with half a key":         {url, []string{"orders"}, oauth("https://x", key(`{"client_id":"a"}`)), "client_secret"},
		"OAuth2 without a server":        {url, []string{"orders"}, oauth("", key(`{"client_id":"a","client_secret":"s"}`)), "issuerUrl"},
		"OAuth2 with a malformed server": {url, []string{"orders"}, oauth("x", key(`{"client_id":"a","client_secret":"s"}`)), "issuerUrl"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.url, "billing", c.topics, c.cfg)
			switch {
			case c.says == "" && err != nil:
				t.Errorf("New = %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("New = %v, want it to contain %q", err, c.says)
			case err != nil && strings.Contains(err.Error(), "secret\"") || err != nil && strings.Contains(err.Error(), ":secret"):
				t.Errorf("New = %v, which contains a secret", err)
			}
		})
	}
}

// Brokers take a subscription with a line break for another one, without the progress of the first.
func TestSubscriptionWithWhiteSpaceIsRefused(t *testing.T) {
	for name, want := range map[string]bool{"billing": true, "my billing ü": true, "billing\n": false, " billing": false, "bil\x00ling": false} {
		if _, err := New("pulsar://host:6650", name, []string{"orders"}, Config{}); (err == nil) != want || err != nil && !strings.Contains(err.Error(), "white space") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
