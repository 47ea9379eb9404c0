//go:build unix

package livetest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	sourcepulsar "github.com/keystrand/keystrand/source/pulsar"
)

// acceptPulsar makes a source, waits for its first partition or its error, and closes it.
func acceptPulsar(ctx context.Context, t *testing.T, url, subscription, topic string, cfg sourcepulsar.Config) error {
	t.Helper()
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 30 * time.Second
	}
	s, err := sourcepulsar.New(url, subscription, []string{topic}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.Accept(ctx)
	if err == nil {
		if released := part.Release(ctx); released != nil {
			t.Error(released)
		}
	}
	if closed := s.Close(); closed != nil {
		t.Error(closed)
	}
	return err
}

// TestLivePulsarUnreachableAtStartIsWaitedFor: nobody listens, then somebody does.
func TestLivePulsarUnreachableAtStartIsWaitedFor(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic, err := p.NewStream(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	door := newDoor(ctx, t, strings.TrimPrefix(p.url, "pulsar://"))
	log := &lines{}
	accepted := make(chan error, 1)
	go func() {
		accepted <- acceptPulsar(ctx, t, "pulsar://"+door.address, topic+"-group", topic, sourcepulsar.Config{
			OperationTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	for !strings.Contains(log.String(), "refused") && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond) // real time: the source has its own pauses
	}
	door.open()
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, topic) || !strings.Contains(text, door.address) {
		t.Errorf("the log names neither topic nor address:\n%s", text)
	}
}

// door is an address where nobody listens until it is opened, and that leads to another then.
type door struct {
	t       *testing.T
	ctx     context.Context
	address string
	behind  string
}

func newDoor(ctx context.Context, t *testing.T, behind string) *door {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, ctx: ctx, address: l.Addr().String(), behind: behind}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *door) open() {
	l, err := (&net.ListenConfig{}).Listen(d.ctx, "tcp", d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(d.ctx, "tcp", d.behind)
			if err != nil {
				_ = in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
}

func TestLivePulsarStartTimeoutNamesAddressAndCause(t *testing.T) {
	newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")             // skips without; what is dialed here is a port where nobody listens
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	d := newDoor(ctx, t, "")
	err := acceptPulsar(ctx, t, "pulsar://"+d.address, "g", "t", sourcepulsar.Config{OperationTimeout: time.Second, StartTimeout: 2 * time.Second})
	wantError(t, err, sourcepulsar.ErrStartTimeout, d.address, "refused")
}

// TestLivePulsarStartErrorsNameTopicAndSubscription: what waiting does not heal.
func TestLivePulsarStartErrorsNameTopicAndSubscription(t *testing.T) {
	p := newPulsar(t, "KEYSTRAND_PULSAR", "pulsar")
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	p.strict(t, nil)
	missing := "persistent://" + p.namespace + "/missing"
	wantError(t, acceptPulsar(ctx, t, p.url, "sub", missing, sourcepulsar.Config{}), sourcepulsar.ErrTopicMissing, missing, "sub")
	nowhere := "persistent://public/nowhere/missing"
	wantError(t, acceptPulsar(ctx, t, p.url, "sub", nowhere, sourcepulsar.Config{}), sourcepulsar.ErrTopicMissing, nowhere, "sub")

	topic, err := p.NewStream(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := p.client.Subscribe(pulsar.ConsumerOptions{Topic: p.full(Place{Stream: topic}), SubscriptionName: "taken", Type: pulsar.Shared})
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	wantError(t, acceptPulsar(ctx, t, p.url, "taken", topic, sourcepulsar.Config{}), nil, topic, "taken", "another type")
	lock, err := p.client.Subscribe(pulsar.ConsumerOptions{Topic: p.full(Place{Stream: topic}), SubscriptionName: "held", Type: pulsar.Exclusive})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	alone := sourcepulsar.Config{Alone: true, BusyTimeout: time.Second}
	wantError(t, acceptPulsar(ctx, t, p.url, "held", topic, alone), sourcepulsar.ErrBusy, topic, "held")
}

// newPulsarSecured is a cluster that is reached with TLS and a token alone.
func newPulsarSecured(t *testing.T) (*pulsarCluster, *tls.Config) {
	t.Helper()
	ca, token, namespace := os.Getenv("KEYSTRAND_PULSAR_CA"), os.Getenv("KEYSTRAND_PULSAR_TOKEN"), os.Getenv("KEYSTRAND_PULSAR_TLS_NAMESPACE")
	if ca == "" || token == "" || namespace == "" {
		t.Skip("KEYSTRAND_PULSAR_CA, _TOKEN and _TLS_NAMESPACE are not set: tools/services/services up pulsar-tls; eval \"$(tools/services/services env)\"")
	}
	trust, err := trusting(ca)
	if err != nil {
		t.Fatal(err)
	}
	p := newPulsar(t, "KEYSTRAND_PULSAR_TLS", "pulsar-tls")
	p.namespace, p.ca, p.token = namespace, ca, token
	p.client = p.newClient(pulsar.ClientOptions{TLSConfig: trust, TLSValidateHostname: true, Authentication: pulsar.NewAuthenticationToken(secret(t, "KEYSTRAND_PULSAR_TOKEN"))})
	transport := &http.Transport{TLSClientConfig: trust}
	t.Cleanup(transport.CloseIdleConnections)
	p.admin.Token, p.admin.Transport = secret(t, "KEYSTRAND_PULSAR_TOKEN_ADMIN"), transport
	return p, trust
}

// secret reads the file that a variable names.
func secret(t *testing.T, variable string) string {
	t.Helper()
	b, err := os.ReadFile(os.Getenv(variable))
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return strings.TrimSpace(string(b))
}

func TestLivePulsarSecured(t *testing.T) {
	p, _ := newPulsarSecured(t)
	play(t, p, scenario{
		messages: 12_000, keys: 2_000,
		orderly: true,
		steps:   []step{{0, join("a", "b", "c")}, {0.4, leave("b")}, {0.6, join("d")}},
	})
}

func TestLivePulsarRefusalsNameWhatFailed(t *testing.T) {
	p, trust := newPulsarSecured(t)
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	topic, err := p.NewStream(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	alice, carol := secret(t, "KEYSTRAND_PULSAR_TOKEN"), secret(t, "KEYSTRAND_PULSAR_TOKEN_DENIED")
	forged := alice[:len(alice)-6] + "AAAAAA"
	accept := func(token string, trust *tls.Config) error {
		cfg := sourcepulsar.Config{TLS: trust, OperationTimeout: 5 * time.Second}
		if token != "" {
			cfg.Authentication = sourcepulsar.Token(token)
		}
		err := acceptPulsar(ctx, t, p.url, "sub", topic, cfg)
		switch {
		case err == nil:
		case errors.Is(err, sourcepulsar.ErrStartTimeout):
			t.Errorf("it was tried again and again: %v", err)
		case token != "" && strings.Contains(err.Error(), token):
			t.Errorf("the error tells the token: %v", err)
		}
		return err
	}
	wantError(t, accept(forged, trust), sourcepulsar.ErrRefused, strings.TrimPrefix(p.url, "pulsar+ssl://"), "credentials")
	wantError(t, accept("", trust), sourcepulsar.ErrRefused, "credentials")
	wantError(t, accept(carol, trust), nil, topic, "not permitted")
	wantError(t, accept(alice, &tls.Config{MinVersion: tls.VersionTLS12}), nil, "TLS", "certificate")
	if err := accept(alice, trust); err != nil {
		t.Error(err)
	}

	if err := p.admin.Do(ctx, http.MethodPost, "namespaces/"+p.namespace+"/permissions/carol", []string{"consume"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.admin.Do(context.WithoutCancel(ctx), http.MethodDelete, "namespaces/"+p.namespace+"/permissions/carol", nil, nil)
	})
	for {
		err := accept(carol, trust)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(fmt.Errorf("carol has the permission: %w", err))
		}
		time.Sleep(time.Second) // real time: the broker remembers permissions for a while
	}
}
