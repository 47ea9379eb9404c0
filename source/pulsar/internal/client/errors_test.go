package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

var errDown = errors.New("connection error")

// The library's calls fail with "connection error" whatever the cause. Its log tells whether a retry can heal it.
func TestFatalReturnsFaultsOfTheFirstConnectionThatRetriesDoNotHeal(t *testing.T) {
	for name, c := range map[string]struct {
		writes func(log.Logger)
		want   error
		says   []string // none: it is retried
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
			said := NewLog(slog.New(slog.DiscardHandler), "pulsar+ssl://fake", Events{})
			l := said.Logger()
			c.writes(l)
			final := said.Fatal("orders", "billing", errDown)
			if (final == nil) != (c.says == nil) || c.want != nil && !errors.Is(final, c.want) {
				t.Errorf("Fatal = %v, want %v", final, c.want)
			}
			for _, text := range append(c.says, `"orders"`, `"billing"`) {
				if final != nil && !strings.Contains(final.Error(), text) {
					t.Errorf("Fatal = %v, want it to contain %q", final, text)
				}
			}
			// One that has worked will work again: a token is renewed, a certificate replaced.
			l.Info("Connection is ready")
			c.writes(l)
			if final := said.Fatal("orders", "billing", errDown); final != nil {
				t.Errorf("after a connection Fatal = %v, want nil", final)
			}
		})
	}
}

func TestHandshakeThatFailsIsFatalOnceItFailsForEachHost(t *testing.T) {
	plain := tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}
	l := NewLog(slog.New(slog.DiscardHandler), "pulsar+ssl://a:6651,b:6651", Events{})
	fails := func(addr string, err error) {
		l.Logger().SubLogger(log.Fields{"remote_addr": addr}).WithError(err).Warn("Failed to connect to broker.")
	}
	for range 2 {
		fails("a:6651", plain)
	}
	if err := l.FatalConnection("topic"); err != nil {
		t.Errorf("after one of two hosts: %v", err)
	}
	fails("b:6651", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
	if err := l.FatalConnection("topic"); err == nil {
		t.Error("no error after both hosts")
	}
	fails("b:6651", syscall.ECONNREFUSED)
	fails("a:6651", plain)
	if err := l.FatalConnection("topic"); err != nil {
		t.Errorf("while a host is down: %v", err)
	}
}
