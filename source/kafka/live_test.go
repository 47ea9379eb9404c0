package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/keystrand/keystrand/source/kafka"
)

func liveEnv(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Skipf("%s is not set: start the broker with \"tools/services/services up kafka-sasl\", and eval what its env prints", name)
	}
	return v
}

func TestLiveSecurity(t *testing.T) {
	saslPort, tlsPort, bothPort := liveEnv(t, "KEYSTRAND_KAFKA_SASL"), liveEnv(t, "KEYSTRAND_KAFKA_TLS"), liveEnv(t, "KEYSTRAND_KAFKA_SASL_TLS")
	pem, err := os.ReadFile(liveEnv(t, "KEYSTRAND_KAFKA_CA"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	good := &tls.Config{RootCAs: pool}

	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: good}
	adm := kadm.NewClient(newClient(t, []string{tlsPort}, dialer.DialContext))
	topic := fmt.Sprintf("security-%d", time.Now().UnixNano())
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, broker string
		tls          *tls.Config
		sasl         sasl.Mechanism
		want         []string // in the error; none: it works
	}{
		{"plain", saslPort, nil, kafka.Plain("alice", "alice-secret"), nil},
		{"scram 256", saslPort, nil, kafka.SCRAMSHA256("bob", "bob-secret"), nil},
		{"scram 512", saslPort, nil, kafka.SCRAMSHA512("bob", "bob-secret"), nil},
		{"tls", tlsPort, good, nil, nil},
		{"plain over tls", bothPort, good, kafka.Plain("alice", "alice-secret"), nil},
		{"scram over tls", bothPort, good, kafka.SCRAMSHA512("bob", "bob-secret"), nil},
		{"wrong password", saslPort, nil, kafka.Plain("alice", "guessed"), []string{"PLAIN", "credentials"}},
		{"wrong scram 256 password", bothPort, good, kafka.SCRAMSHA256("bob", "guessed"), []string{"SCRAM-SHA-256", "credentials"}},
		{"wrong scram password", bothPort, good, kafka.SCRAMSHA512("bob", "guessed"), []string{"SCRAM-SHA-512", "credentials"}},
		{"unknown user", bothPort, good, kafka.SCRAMSHA512("nobody", "guessed"), []string{"SCRAM-SHA-512", "credentials"}},
		{"no sasl on a sasl port", saslPort, nil, nil, []string{"expects SASL"}},
		{"no sasl on a sasl and tls port", bothPort, good, nil, []string{"expects SASL"}},
		{"sasl on a port without", tlsPort, good, kafka.Plain("alice", "alice-secret"), []string{"PLAIN", "does not expect SASL"}},
		{"no tls on a tls port", tlsPort, nil, nil, []string{"expects TLS"}},
		{"tls on a port without", saslPort, good, kafka.Plain("alice", "alice-secret"), []string{"does not speak TLS"}},
		{"unknown authority", tlsPort, &tls.Config{RootCAs: x509.NewCertPool()}, nil, []string{"TLS", "certificate", "unknown authority"}},
		{"no permission", saslPort, nil, kafka.Plain("carol", "carol-secret"), []string{topic, "not permitted"}},
		{"no permission for the group", bothPort, good, kafka.Plain("carol", "carol-secret"), []string{topic + "-group", "not permitted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "no permission for the group" {
				acls := kadm.NewACLs().Topics(topic).Allow("User:carol").AllowHosts().Operations(kadm.OpRead, kadm.OpDescribe).
					ResourcePatternType(kadm.ACLPatternLiteral)
				if _, err := adm.CreateACLs(t.Context(), acls); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _, _ = adm.DeleteACLs(context.Background(), acls) })
			}
			s, err := kafka.New([]string{c.broker}, topic+"-group", []string{topic}, kafka.Config{
				TLS: c.tls, SASL: c.sasl, StartTimeout: 60 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Accept(t.Context())
			switch {
			case len(c.want) == 0 && err != nil:
				t.Error(err)
			case len(c.want) > 0 && err == nil:
				t.Errorf("accepted %v, want an error that says %q", p.ID(), c.want)
			case errors.Is(err, kafka.ErrStartTimeout) || err != nil && regexp.MustCompile(`guessed|(alice|bob|carol)-secret`).MatchString(err.Error()):
				t.Errorf("Accept = %v, want one attempt and no password in its error", err)
			}
			if err == nil {
				if err := p.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
			for _, text := range c.want {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("Accept = %v, want it to say %q", err, text)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLiveNobodyAnswers(t *testing.T) {
	liveEnv(t, "KEYSTRAND_KAFKA") // it takes real time
	const nobody = "127.0.0.1:1"
	s, err := kafka.New([]string{nobody}, "g", []string{"orders"}, kafka.Config{StartTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Accept(t.Context())
	if !errors.Is(err, kafka.ErrStartTimeout) || !strings.Contains(err.Error(), nobody) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Accept = %v, want ErrStartTimeout with %s and refused", err, nobody)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
