package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
)

// A port that expects TLS, SASL or a certificate, or does not, is an error at the start, with what to do. Over real sockets: on
// unbuffered pipes both sides of a failing handshake wait for each other.
func TestCheckNamesWhatThePortExpects(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	web.Close()
	server := &tls.Config{Certificates: web.TLS.Certificates}
	mutual := server.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	client := &tls.Config{RootCAs: roots, ServerName: "example.com"}
	login := plain.Mechanism{Username: "u", Password: "p"}
	authenticates := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "p")}
	for name, c := range map[string]struct {
		broker []kfake.Opt
		tls    *tls.Config
		sasl   sasl.Mechanism
		want   string // empty: no error
	}{
		"TLS on both sides":          {[]kfake.Opt{kfake.TLS(server)}, client, nil, ""},
		"TLS of the broker only":     {[]kfake.Opt{kfake.TLS(server)}, nil, nil, "set Config.TLS"},
		"TLS of the client only":     {nil, client, nil, "leave Config.TLS empty"},
		"unknown authority":          {[]kfake.Opt{kfake.TLS(server)}, &tls.Config{ServerName: "example.com"}, nil, "check Config.TLS"},
		"no certificate":             {[]kfake.Opt{kfake.TLS(mutual)}, client, nil, "check Config.TLS"},
		"no certificate, TLS 1.2":    {[]kfake.Opt{kfake.TLS(mutual12)}, client, nil, "check Config.TLS"},
		"mutual TLS of the broker":   {[]kfake.Opt{kfake.TLS(mutual)}, nil, nil, "set Config.TLS"},
		"mutual TLS 1.2":             {[]kfake.Opt{kfake.TLS(mutual12)}, nil, nil, "set Config.TLS"},
		"SASL on both sides":         {authenticates, nil, login, ""},
		"SASL of the broker only":    {authenticates, nil, nil, "set Config.SASL"},
		"SASL over TLS without SASL": {append(authenticates, kfake.TLS(server)), client, nil, "set Config.SASL"},
	} {
		t.Run(name, func(t *testing.T) {
			brokers, err := kfake.NewCluster(append(c.broker, kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(brokers.Close)
			s, err := New(brokers.ListenAddrs(), "t", Config{TLS: c.tls, SASL: c.sasl, RequestTimeout: 2 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Check(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Check = %v", err)
			case c.want != "" && (outcomeOf(err) != keystrand.OutcomePermanent || !strings.Contains(err.Error(), c.want)):
				t.Errorf("Check = %v, want it permanent, and to say %q", err, c.want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
