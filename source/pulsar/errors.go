package pulsar

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

var (
	// ErrStartTimeout is what Accept returns when Config.StartTimeout has passed before the brokers were reached.
	ErrStartTimeout = errors.New("pulsar: the brokers could not be reached in time")
	// ErrTopicMissing is what Accept returns when a topic, or its namespace, does not exist.
	ErrTopicMissing = errors.New("pulsar: the topic does not exist")
	// ErrBusy is what Accept returns with Config.Alone when somebody else holds the subscription of a partition.
	ErrBusy = errors.New("pulsar: the subscription is held by somebody else")
	// ErrRefused is what Accept returns when the brokers, or their web service, refuse the credentials.
	ErrRefused = errors.New("pulsar: the brokers refuse the credentials")
	// ErrEncrypted is in the error of a Fetch that met a message that cannot be decrypted.
	ErrEncrypted = errors.New("pulsar: the message is encrypted")
)

// The client library makes its errors of the brokers' answers, as text.
func says(err error, texts ...string) bool {
	if err == nil {
		return false
	}
	all := err.Error()
	for _, text := range texts {
		if strings.Contains(all, text) {
			return true
		}
	}
	return false
}

// busy tells whether somebody else holds the subscription, exclusively.
func busy(err error) bool { return says(err, "ConsumerBusy") && !otherType(err) }

// otherType tells whether the subscription is of another type, and has consumers.
func otherType(err error) bool { return says(err, "different type", "SubscriptionType") }

// missing tells whether the topic, its namespace or its tenant does not exist.
func missing(err error) bool {
	if e, ok := errors.AsType[*pulsar.Error](err); ok && e.Result() == pulsar.TopicNotFound {
		return true
	}
	return says(err, "TopicNotFound", "topic not found", "Namespace not found", "NamespaceNotFound")
}

// fatal returns an error for the user if waiting cannot heal err, nil if it can. What is not in this table is waited
// for: an error that is told in the log and in Report while the program tries again does less harm than a program that
// has ended at night because of a broker's new error. The subscription is that of the messages, or the candidates'.
func (s *Source) fatal(topic, subscription string, err error) error {
	cause, of := s.lines.cause(), fmt.Sprintf("topic %q, subscription %q", topic, subscription)
	switch {
	case err == nil:
		return nil
	case says(err, "AuthorizationError", "not authorized"):
		return fmt.Errorf("pulsar: %s: not permitted: %w (grant the action consume on the topic or namespace)", of, err)
	case otherType(err):
		return fmt.Errorf("pulsar: %s: the subscription is of another type and has live consumers: %w "+
			"(stop them all, or use another subscription)", of, err)
	case says(err, "Durable subscription with the same name"): // only the candidates' is not durable
		return fmt.Errorf("pulsar: %s: somebody has made that subscription, which the election needs for itself: %w "+
			"(delete it, or use another subscription)", of, err)
	case says(err, "InvalidTopicName", "Invalid topic name"):
		return fmt.Errorf("pulsar: %s: the topic's name is not one that brokers accept: %w", of, err)
	case says(err, "IncompatibleSchema"):
		return fmt.Errorf("pulsar: %s: the topic's schema is refused: %w", of, err)
	case s.lines.everConnected():
		// What follows are faults of connections. One that has worked will work again: a broker restarts, a token is renewed.
		return nil
	case says(err, "AuthenticationError"):
		return fmt.Errorf("%w: %s: %w (check Config.Authentication)", ErrRefused, of, err)
	case cause.refused != "":
		return fmt.Errorf("%w: %s: %s: the broker says %q (check Config.Authentication)", ErrRefused, of, s.url, cause.refused)
	case says(cause.err, "invalid_client", "unauthorized_client", "invalid_grant"): // RFC 6749, section 5.2
		return fmt.Errorf("%w: %s: %s: the authorization server says %w (check the parameters of OAuth2)", ErrRefused, of, s.url, cause.err)
	case certificate(cause.err):
		return fmt.Errorf("pulsar: %s: TLS to %s: %w (check Config.TLS: root certificates, server name, client certificate)", of, s.url, cause.err)
	case plain(cause.err):
		return fmt.Errorf("pulsar: %s: %s does not speak TLS: %w (use a pulsar:// URL, or another port)", of, s.url, cause.err)
	}
	return nil
}

// webError is an answer of the brokers' web service that is not what was asked for.
type webError struct {
	status string
	code   int
	text   string
}

func (e *webError) Error() string {
	if e.text == "" {
		return "the web service answers " + e.status
	}
	return "the web service answers " + e.status + ": " + e.text
}

// fatalOfWeb is fatal for the brokers' web service. It holds until there was an answer: later tokens are renewed.
func (s *Source) fatalOfWeb(err error) error {
	e, refused := errors.AsType[*webError](err)
	switch {
	case refused && (e.code == http.StatusUnauthorized || e.code == http.StatusForbidden):
		return fmt.Errorf("%w: subscription %q: %w (check Config.AdminToken, and that its role may list the topics of the namespace)", ErrRefused, s.subscription, err)
	case certificate(err):
		return fmt.Errorf("pulsar: subscription %q: TLS to the web service: %w (check Config.TLS: root certificates, server name, client certificate)",
			s.subscription, err)
	}
	return nil
}

// certificate tells whether err is a TLS handshake that fails again however often it is tried.
func certificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	if errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		return true
	}
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && says(alert.Err, "certificate", "handshake failure", "protocol version", "access denied")
}

// plain tells whether the other side answered a TLS handshake with something else.
func plain(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}
