package pulsar

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// The library's calls answer "connection error" whatever the cause: what waiting does not heal is told by what it writes.
func TestFaultsOfTheFirstConnectionAreFinalWhereWaitingDoesNotHealThem(t *testing.T) {
	for name, c := range map[string]struct {
		writes func(log.Logger)
		want   error
		says   []string // none: it is waited for
	}{
		"refused token": {func(l log.Logger) {
			l.Warnf("Failed to establish connection with broker: '%s'", "Unable to authenticate")
		}, ErrRefused, []string{"pulsar+ssl://fake", "Unable to authenticate", "Config.Authentication"}},
		"refused by an authorization server": {func(l log.Logger) {
			l.WithError(errors.New("could not exchange client credentials: invalid_client")).Warn("Failed to load auth credentials")
		}, ErrRefused, []string{"invalid_client", "OAuth2"}},
		"authorization server away": {func(l log.Logger) {
			l.WithError(errors.New("could not exchange client credentials: connection refused")).Warn("Failed to load auth credentials")
		}, nil, nil},
		"unknown authority": {func(l log.Logger) {
			l.WithError(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}).Warn("Failed to connect to broker.")
		}, nil, []string{"TLS to pulsar+ssl://fake", "Config.TLS"}},
		"refused certificate": {func(l log.Logger) {
			l.WithError(fmt.Errorf("handshake: %w", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")})).Warn("Failed to connect to broker.")
		}, nil, []string{"TLS to pulsar+ssl://fake"}},
		"no TLS there": {func(l log.Logger) {
			l.WithError(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}).Warn("Failed to connect to broker.")
		}, nil, []string{"pulsar+ssl://fake does not speak TLS"}},
		"nobody there": {func(l log.Logger) {
			l.WithError(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}).Warn("Failed to connect to broker.")
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New("pulsar+ssl://fake", "billing", []string{"orders"}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			l := s.lines.logger()
			c.writes(l)
			final := s.fatal("orders", "billing", errFakeDown)
			if (final == nil) != (c.says == nil) || c.want != nil && !errors.Is(final, c.want) {
				t.Errorf("it is %v, want %v", final, c.want)
			}
			for _, text := range append(c.says, `"orders"`, `"billing"`) {
				if final != nil && !strings.Contains(final.Error(), text) {
					t.Errorf("it is %v, want it to say %q", final, text)
				}
			}
			// One that has worked will work again: a token is renewed, a certificate replaced.
			l.Info("Connection is ready")
			c.writes(l)
			if final := s.fatal("orders", "billing", errFakeDown); final != nil {
				t.Errorf("after a connection it is %v, want that it is waited for", final)
			}
		})
	}
}
