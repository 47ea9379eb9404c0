// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/keystrand/keystrand/source/kafka"
)

func TestFatalErrorsOfTheGroupAreNamed(t *testing.T) {
	for _, c := range []struct {
		err  *kerr.Error
		key  kmsg.Key
		want []string
	}{
		{kerr.InvalidSessionTimeout, kmsg.JoinGroup, []string{`"g"`, "session timeout", "30s"}},
		{kerr.InconsistentGroupProtocol, kmsg.JoinGroup, []string{`"g"`, "another kind"}},
		{kerr.InvalidGroupID, kmsg.JoinGroup, []string{`"g"`}},
		{kerr.GroupAuthorizationFailed, kmsg.JoinGroup, []string{`"g"`, "grant READ"}},
		{kerr.GroupAuthorizationFailed, kmsg.FindCoordinator, []string{`"g"`, "grant READ"}},
		{kerr.GroupAuthorizationFailed, kmsg.OffsetCommit, []string{`"g"`, "grant READ"}},
		{kerr.TopicAuthorizationFailed, kmsg.Metadata, []string{"t", "not permitted"}},
		{kerr.TopicAuthorizationFailed, kmsg.OffsetCommit, []string{"t", "not permitted"}},
		{kerr.InvalidTopicException, kmsg.Metadata, []string{"[t]", "name"}},
		{kerr.InvalidRequest, kmsg.Metadata, []string{`"g"`, "refuses"}},
		{kerr.SecurityDisabled, kmsg.JoinGroup, []string{`"g"`, "refuses"}},
	} {
		t.Run(c.err.Message+" of "+c.key.Name(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				f := kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: -1}
				h := w.cluster.Fault(f)
				s := w.source("g")
				began := time.Now()
				err := w.acceptErr(s)
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("Accept = %v, want it to name %s", err, want)
					}
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("it took %v to give up", d)
				}
				h.Remove()
				w.close(s, nil)
			})
		})
	}
}

// Of several topics the error names those that are not permitted.
func TestTopicThatIsNotPermittedIsNamed(t *testing.T) {
	inWorldWith(t, []kfake.Opt{kfake.SeedTopics(1, "open", "closed")}, func(w *world) {
		h := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "closed", Err: kerr.TopicAuthorizationFailed, Count: -1})
		s, err := kafka.New(w.brokers, "g", []string{"open", "closed"}, w.config())
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.acceptErr(s); !strings.Contains(err.Error(), "topic closed: not permitted") || strings.Contains(err.Error(), "open") {
			w.t.Errorf("Accept = %v, want it to name the topic closed only", err)
		}
		h.Remove()
		w.close(s, nil)
	})
}

func TestBrokerThatIsTooOldIsNamedAtOnce(t *testing.T) {
	for _, c := range []struct {
		key  kmsg.Key
		most int16 // version that the brokers speak
		want []string
	}{
		{kmsg.Metadata, 3, []string{"Metadata up to version 3", "Kafka 2.0 or newer"}},
		{kmsg.ListOffsets, 1, []string{"ListOffsets up to version 1", "Kafka 2.0 or newer"}},
		{kmsg.JoinGroup, 0, []string{"JoinGroup up to version 0", "Kafka 2.0 or newer"}},
	} {
		t.Run(c.key.Name(), func(t *testing.T) {
			old := kversion.Stable()
			old.SetMaxKeyVersion(int16(c.key), c.most)
			inWorld(t, 1, func(w *world) {
				t := w.t
				s := w.source("g")
				w.wantsErr(s, append(c.want, `group "g"`, "too old or too new", w.brokers[0])...)
				if n := w.told.times("operation failed; retrying"); n != 0 {
					t.Errorf("it was retried: the log has %d failures", n)
				}
			}, kfake.MaxVersions(old))
		})
	}
}

func TestUnreachableBrokerIsWaitedForUpToStartTimeout(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		cfg := w.config()
		cfg.StartTimeout = 30 * time.Second
		s, err := kafka.New([]string{"localhost:1"}, "g", []string{"t"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = w.acceptErr(s)
		if !errors.Is(err, kafka.ErrStartTimeout) || !strings.Contains(err.Error(), "localhost:1") {
			t.Errorf("Accept = %v, want ErrStartTimeout that names the broker", err)
		}
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("gave up after %v, want 30s", d)
		}
		w.close(s, nil)

		s = w.source("g", func(c *kafka.Config) { c.StartTimeout = 30 * time.Second })
		ps := w.accept(s, 1)
		time.Sleep(time.Minute)
		if r := s.Report(); r.State != "member" {
			t.Errorf("StartTimeout ended a started source: %+v", r)
		}
		w.close(s, ps)
	})
}

func TestWrongCredentialsAreNamedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		m    sasl.Mechanism
		want []string
	}{
		{"plain, wrong password", kafka.Plain("alice", "wrong"), []string{"PLAIN", "credentials"}},
		{"scram, wrong password", kafka.SCRAMSHA256("bob", "wrong"), []string{"SCRAM-SHA-256", "credentials"}},
		{"none", nil, []string{"expects SASL"}},
		{"plain", kafka.Plain("alice", "secret"), nil},
		{"scram 256", kafka.SCRAMSHA256("bob", "secret"), nil},
		{"scram 512", kafka.SCRAMSHA512("eve", "secret"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorldWith(t, []kfake.Opt{
				kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"), kfake.Superuser("SCRAM-SHA-256", "bob", "secret"),
				kfake.Superuser("SCRAM-SHA-512", "eve", "secret"),
			}, func(w *world) {
				s := w.source("g", func(cfg *kafka.Config) { cfg.SASL = c.m })
				if c.want == nil {
					w.close(s, w.accept(s, 1))
					return
				}
				w.wantsErr(s, c.want...)
			})
		})
	}
}

func (w *world) wantsErr(s *kafka.Source, want ...string) {
	w.t.Helper()
	began := time.Now()
	err := w.acceptErr(s)
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("Accept = %v, want it to say %q", err, text)
		}
	}
	if d := time.Since(began); d > 15*time.Second {
		w.t.Errorf("it took %v", d)
	}
	w.close(s, nil)
}

func TestTLSOnOneSideOnlyIsNamedAtOnce(t *testing.T) {
	server, roots := certificate(t)
	good := &tls.Config{RootCAs: roots}
	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   []string
	}{
		{"both", server, good, nil},
		{"client only", nil, good, []string{"does not speak TLS"}},
		{"server only", server, nil, []string{"expects TLS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var opts []kfake.Opt
			if c.server != nil {
				opts = append(opts, kfake.TLS(c.server))
			}
			inWorldWith(t, opts, func(w *world) {
				s := w.source("g", func(cfg *kafka.Config) { cfg.TLS = c.client })
				if c.want == nil {
					w.close(s, w.accept(s, 1))
					return
				}
				w.wantsErr(s, c.want...)
			})
		})
	}
}

// Over real sockets: on the unbuffered pipes of the other tests both sides of a failing handshake wait for each other.
func TestCertificateThatIsNotTrustedIsNamedAtOnce(t *testing.T) {
	server, roots := certificate(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	mutual := server.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	strict, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(mutual))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(strict.Close)
	old := mutual.Clone()
	old.MaxVersion = tls.VersionTLS12 // the handshake of a client without certificate fails
	strict12, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(old))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(strict12.Close)
	for _, c := range []struct {
		name    string
		cluster *kfake.Cluster
		client  *tls.Config
		want    string
	}{
		{"unknown authority", cluster, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}, "unknown authority"},
		{"another name", cluster, &tls.Config{RootCAs: roots, ServerName: "elsewhere"}, "elsewhere"},
		{"none of ours", strict, &tls.Config{RootCAs: roots, ServerName: "localhost"}, "certificate required"},
		{"none of ours, TLS 1.2", strict12, &tls.Config{RootCAs: roots, ServerName: "localhost"}, "handshake"},
		{"no TLS", strict, nil, "expects TLS"},
		{"no TLS, TLS 1.2", strict12, nil, "expects TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := kafka.New(c.cluster.ListenAddrs(), "g", []string{"t"}, kafka.Config{TLS: c.client})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := s.Accept(ctx); err == nil || !strings.Contains(err.Error(), "TLS") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Accept = %v, want an error that names TLS and %q", err, c.want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// certificate makes a server's certificate for localhost and the pool that trusts it, valid in a bubble's year.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}
