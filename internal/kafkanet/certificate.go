package kafkanet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
)

// RefusesCertificate reports whether err is a TLS handshake that fails however often it is retried: one side does not accept
// the other's certificate, or protocol.
func RefusesCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.As(err, &invalid) || refused(err)
}

// refused reports whether the broker ended a handshake with an alert about our certificate, or the lack of one. crypto/tls has
// no type for a remote alert: tls.AlertError is for QUIC alone. The alerts of a stopping broker (internal error, user canceled)
// heal.
func refused(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	if !ok || alert.Op != "remote error" || alert.Err == nil {
		return false
	}
	text := alert.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "handshake failure") ||
		strings.Contains(text, "protocol version") || strings.Contains(text, "access denied")
}
