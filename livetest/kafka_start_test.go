//go:build unix

package livetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/keystrand/keystrand/source/kafka"
)

// lines keeps a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLiveKafkaUnreachableAtStartIsWaitedFor(t *testing.T) {
	k := newKafka(t, "KEYSTRAND_KAFKA", "kafka")
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic, err := k.NewStream(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	var up atomic.Bool
	tried := make(chan struct{}, 1000)
	s, err := kafka.New(k.brokers, topic+"-group", []string{topic}, kafka.Config{
		SessionTimeout: 6 * time.Second,
		Logger:         slog.New(slog.NewTextHandler(log, nil)),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if !up.Load() {
				select {
				case tried <- struct{}{}:
				default:
				}
				return nil, fmt.Errorf("dial %s %s: nobody is there", network, address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 3 {
			<-tried
		}
		up.Store(true)
	}()
	p, err := s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, k.brokers[0]) || !strings.Contains(text, "nobody is there") {
		t.Errorf("the log names neither address nor cause:\n%s", text)
	}
	if err := errors.Join(p.Release(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestLiveKafkaStartTimeoutNamesAddressAndCause(t *testing.T) {
	newKafka(t, "KEYSTRAND_KAFKA", "kafka")                // skips without; what is dialed here is a port where nobody listens
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := kafka.New([]string{address}, "g", []string{"t"}, kafka.Config{StartTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Accept(ctx)
	wantError(t, err, kafka.ErrStartTimeout, address, "refused")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func wantError(t *testing.T, err, is error, names ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %q is not %q", err, is)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("error %q does not name %q", err, n)
		}
	}
	t.Log(err)
}

// --- SASL over TLS ---

const securePassword = "bob-secret"

func trusting(ca string) (*tls.Config, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// newSecure is a cluster that is reached with TLS and SCRAM alone.
func newSecure(t *testing.T) (*kafkaCluster, *tls.Config) {
	t.Helper()
	ca := os.Getenv("KEYSTRAND_KAFKA_CA")
	if os.Getenv("KEYSTRAND_KAFKA_SASL_TLS") == "" || ca == "" {
		t.Skip("KEYSTRAND_KAFKA_SASL_TLS and KEYSTRAND_KAFKA_CA are not set: tools/services/services up kafka-sasl; eval \"$(tools/services/services env)\"")
	}
	trust, err := trusting(ca)
	if err != nil {
		t.Fatal(err)
	}
	k := newKafka(t, "KEYSTRAND_KAFKA_SASL_TLS", "kafka-sasl",
		kgo.DialTLSConfig(trust), kgo.SASL(scram.Auth{User: "bob", Pass: securePassword}.AsSha512Mechanism()))
	k.secure = func(a *kafkaArgs) { a.User, a.Password, a.CA = "bob", securePassword, ca }
	return k, trust
}

func TestLiveKafkaSecured(t *testing.T) {
	k, _ := newSecure(t)
	play(t, k, scenario{
		messages: 30_000,
		orderly:  true,
		steps:    []step{{0, join("a", "b", "c")}, {0.4, leave("b")}, {0.6, join("d")}},
	})
}

func TestLiveKafkaRefusalsNameWhatFailed(t *testing.T) {
	k, trust := newSecure(t)
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic, err := k.NewStream(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	group := topic + "-group"
	accept := func(m sasl.Mechanism, trust *tls.Config) error {
		s, err := kafka.New(k.brokers, group, []string{topic}, kafka.Config{SASL: m, TLS: trust, StartTimeout: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Accept(ctx)
		if closed := s.Close(); closed != nil {
			t.Error(closed)
		}
		if err != nil && (strings.Contains(err.Error(), securePassword) || strings.Contains(err.Error(), "carol-secret")) {
			t.Errorf("the error tells the password: %v", err)
		}
		if errors.Is(err, kafka.ErrStartTimeout) {
			t.Errorf("it was tried again and again: %v", err)
		}
		return err
	}
	wantError(t, accept(kafka.SCRAMSHA256("bob", "wrong"), trust), nil, "SCRAM-SHA-256", "credentials")
	wantError(t, accept(kafka.SCRAMSHA512("nobody", "wrong"), trust), nil, "SCRAM-SHA-512", "credentials")
	wantError(t, accept(kafka.Plain("alice", "wrong"), trust), nil, "PLAIN", "credentials")
	wantError(t, accept(kafka.SCRAMSHA512("bob", securePassword), &tls.Config{MinVersion: tls.VersionTLS12}), nil, "TLS", "certificate")

	carol := kafka.Plain("carol", "carol-secret")
	wantError(t, accept(carol, trust), nil, topic, "not permitted")
	acls := kadm.NewACLs().Topics(topic).Allow("User:carol").AllowHosts().Operations(kadm.OpRead, kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := k.admin.CreateACLs(ctx, acls); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = k.admin.DeleteACLs(context.Background(), acls) })
	wantError(t, accept(carol, trust), nil, group, "not permitted")
}
