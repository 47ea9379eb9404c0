//go:build unix

package livetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/pulsar"
)

// opens accepts the first partition of a source, and closes it.
func opens(ctx context.Context, t *testing.T, s source.Source, err error) error {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Accept(ctx)
	if err == nil {
		err = p.Release(ctx)
	}
	if closed := s.Close(); closed != nil {
		t.Error(closed)
	}
	return err
}

func wantError(t *testing.T, err, is error, names ...string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) {
		t.Fatalf("error %v is not %v", err, is)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("error %q does not name %q", err, n)
		}
	}
}

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

// closedPort returns an address on which no process listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// forward lets a port lead to another address.
func forward(ctx context.Context, t *testing.T, port, address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
}

// start makes sources that reach a service through a port: while it is closed, and when it opens.
func start(
	t *testing.T, service string, timeout error, open func(port, topic string, startTimeout time.Duration, log *slog.Logger) (source.Source, error),
) {
	t.Helper()
	c := connect(t, service)
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	port := closedPort(t)
	topic := newStream(t, c, "", 1)
	log := &lines{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	t.Run("StartTimeoutNamesAddressAndCause", func(t *testing.T) {
		s, err := open(port, topic, 2*time.Second, logger)
		wantError(t, opens(ctx, t, s, err), timeout, port, "refused")
	})
	t.Run("UnreachableAtStartIsWaitedFor", func(t *testing.T) {
		from := len(log.String())
		opened := make(chan error, 1)
		s, err := open(port, topic, time.Minute, logger)
		go func() { opened <- opens(ctx, t, s, err) }()
		for !strings.Contains(log.String()[from:], "refused") && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond) // real time: the source has its own pauses
		}
		forward(ctx, t, port, strings.TrimPrefix(c.access("", "").Address, "pulsar://"))
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		if text := log.String()[from:]; !strings.Contains(text, port) {
			t.Errorf("the log does not name the address:\n%s", text)
		}
	})
}

func TestLiveKafkaStart(t *testing.T) {
	start(t, "kafka", kafka.ErrStartTimeout, func(port, topic string, timeout time.Duration, log *slog.Logger) (source.Source, error) {
		return kafka.New([]string{port}, topic+"-group", []string{topic}, kafka.Config{StartTimeout: timeout, SessionTimeout: 6 * time.Second, Logger: log})
	})
}

func TestLivePulsarStart(t *testing.T) {
	start(t, "pulsar", pulsar.ErrStartTimeout, func(port, topic string, timeout time.Duration, log *slog.Logger) (source.Source, error) {
		return pulsar.New("pulsar://"+port, topic+"-group", []string{topic}, pulsar.Config{StartTimeout: timeout, OperationTimeout: time.Second, Logger: log})
	})
}

// refused wants an error at once that names these and does not tell the secret.
func refused(ctx context.Context, t *testing.T, secret string, s source.Source, err, is error, names ...string) {
	t.Helper()
	err = opens(ctx, t, s, err)
	wantError(t, err, is, names...)
	if errors.Is(err, kafka.ErrStartTimeout) || errors.Is(err, pulsar.ErrStartTimeout) {
		t.Errorf("it was tried again and again: %v", err)
	}
	if secret != "" && strings.Contains(err.Error(), secret) {
		t.Errorf("the error tells the secret: %v", err)
	}
}

func TestLiveKafkaRefusalsNameWhatFailed(t *testing.T) {
	k := newKafka(t, "kafka-sasl")
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic := newStream(t, k, "", 1)
	trust, err := trusting(k.way.CA)
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(secret string, m sasl.Mechanism, trust *tls.Config, names ...string) {
		t.Helper()
		cfg := kafka.Config{SASL: m, TLS: trust, StartTimeout: 30 * time.Second}
		s, err := kafka.New([]string{k.way.Address}, topic+"-group", []string{topic}, cfg)
		refused(ctx, t, secret, s, err, nil, names...)
	}
	wrong("not-it", kafka.SCRAMSHA256("bob", "not-it"), trust, "SCRAM-SHA-256", "credentials")
	wrong("not-it", kafka.SCRAMSHA512("nobody", "not-it"), trust, "SCRAM-SHA-512", "credentials")
	wrong("not-it", kafka.Plain("alice", "not-it"), trust, "PLAIN", "credentials")
	wrong(k.way.Secret, kafka.SCRAMSHA512("bob", k.way.Secret), &tls.Config{MinVersion: tls.VersionTLS12}, "TLS", "certificate")
	carol := kafka.Plain("carol", "carol-secret")
	wrong("carol-secret", carol, trust, topic, "not permitted")
	acls := kadm.NewACLs().Topics(topic).Allow("User:carol").AllowHosts().Operations(kadm.OpRead, kadm.OpDescribe).
		ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := k.admin.CreateACLs(ctx, acls); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = k.admin.DeleteACLs(context.Background(), acls) })
	wrong("carol-secret", carol, trust, topic+"-group", "not permitted")
}

func TestLivePulsarRefusalsNameWhatFailed(t *testing.T) {
	p := newPulsar(t, "pulsar-tls")
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic := newStream(t, p, "", 1)
	trust, err := trusting(p.way.CA)
	if err != nil {
		t.Fatal(err)
	}
	open := func(token string, trust *tls.Config) (source.Source, error) {
		cfg := pulsar.Config{TLS: trust, OperationTimeout: 5 * time.Second, StartTimeout: 30 * time.Second}
		if token != "" {
			cfg.Authentication = pulsar.Token(token)
		}
		return pulsar.New(p.way.Address, "sub", []string{p.topic(topic)}, cfg)
	}
	wrong := func(token string, trust *tls.Config, is error, names ...string) {
		t.Helper()
		s, err := open(token, trust)
		refused(ctx, t, token, s, err, is, names...)
	}
	alice, carol := p.way.Secret, secret(t, "KEYSTRAND_PULSAR_TOKEN_DENIED")
	wrong(alice[:len(alice)-6]+"AAAAAA", trust, pulsar.ErrRefused, strings.TrimPrefix(p.way.Address, "pulsar+ssl://"), "credentials")
	wrong("", trust, pulsar.ErrRefused, "credentials")
	wrong(carol, trust, nil, topic, "not permitted")
	wrong(alice, &tls.Config{MinVersion: tls.VersionTLS12}, nil, "TLS", "certificate")
	s, err := open(alice, trust)
	if err := opens(ctx, t, s, err); err != nil {
		t.Error(err)
	}
	permissions := "namespaces/" + p.namespace + "/permissions/carol"
	if err := p.admin.Do(ctx, http.MethodPost, permissions, []string{"consume"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.admin.Do(context.WithoutCancel(ctx), http.MethodDelete, permissions, nil, nil) })
	for {
		s, err := open(carol, trust)
		if err = opens(ctx, t, s, err); err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("carol has the permission: %v", err)
		}
		time.Sleep(time.Second) // real time: the broker remembers permissions for a while
	}
}
