package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/pulsarprobe"
)

// ErrRefused is in the errors of [Log.Fatal] about credentials.
var ErrRefused = errors.New("pulsar: the brokers refuse the credentials")

// says reports whether the text of err contains one of these.
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

// Answered reports whether err is the answer of a broker, so that there is a connection.
func Answered(err error) bool { return says(err, "server error: ") }

// Busy reports whether another consumer holds the subscription.
func Busy(err error) bool {
	return says(err, "ConsumerBusy") && !otherType(err) && pulsarname.Limit(err) == ""
}

// otherType reports whether the subscription has another type, and consumers.
func otherType(err error) bool { return says(err, "different type", "SubscriptionType") }

// Missing reports whether the topic, its namespace or its tenant does not exist.
func Missing(err error) bool {
	if e, ok := errors.AsType[*pulsar.Error](err); ok && e.Result() == pulsar.TopicNotFound {
		return true
	}
	return says(err, "TopicNotFound", "topic not found", "Namespace not found", "NamespaceNotFound")
}

// Certificate reports whether err is a TLS handshake that fails however often it is retried.
func Certificate(err error) bool {
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

// plain reports whether the other side answered a TLS handshake with something else.
func plain(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// hopeless reports whether the handshake with this host fails however often it is retried.
func (c cause) hopeless() bool { return c.refused == "" && (Certificate(c.err) || plain(c.err)) }

// MayBeWrongPort reports whether an error of a first connection may mean that the other side speaks another protocol.
func MayBeWrongPort(err error) bool {
	return errors.Is(err, ErrSilent) || errors.Is(err, io.EOF) || plain(err) ||
		says(err, "unable to read frame", "unexpected EOF", "connection reset", "broken pipe", "first record does not look like a TLS handshake")
}

// Because returns why there is no connection, with an error of the library.
func (l *Log) Because(err error) error {
	last, _ := l.cause()
	if why := last.reason(); why != nil {
		return fmt.Errorf("%w (%w)", why, err)
	}
	return err
}

// Fatal returns an error for the user if a retry cannot heal err, else nil. Unknown errors are retried: an error in the log
// and in Report does less harm than a program that exits at night because a broker has a new error. The subscription is
// that of the messages or of the election.
func (l *Log) Fatal(topic, subscription string, err error) error {
	of := fmt.Sprintf("topic %q, subscription %q", topic, subscription)
	switch {
	case err == nil:
		return nil
	case says(err, "AuthorizationError", "not authorized"):
		return fmt.Errorf("pulsar: %s: not permitted: %w (grant the action consume on the topic or namespace)", of, err)
	case otherType(err):
		return fmt.Errorf("pulsar: %s: the subscription has another type and live consumers: %w (stop them all, or use another subscription)", of, err)
	case says(err, "Durable subscription with the same name"): // of the election, which alone is not durable
		return fmt.Errorf("pulsar: %s: a durable subscription has the name that the election needs: %w (delete it, or use another subscription)", of, err)
	case says(err, "InvalidTopicName", "Invalid topic name"):
		return fmt.Errorf("pulsar: %s: the brokers do not accept the topic's name: %w", of, err)
	case says(err, "IncompatibleSchema"):
		return fmt.Errorf("pulsar: %s: the topic's schema is refused: %w", of, err)
	case typeForbidden(err):
		return fmt.Errorf("pulsar: %s: the brokers do not allow the type of the subscription: %w "+
			"(add Failover and Exclusive to subscriptionTypesEnabled of brokers, namespace and topic; with Config.Alone Exclusive is enough)", of, err)
	case says(err, "AuthenticationError") && !l.WasConnected():
		return fmt.Errorf("%w: %s: %w (check Config.Authentication)", ErrRefused, of, err)
	}
	return l.FatalConnection(of)
}

// FatalConnection returns an error for the user if there was no connection yet and a retry cannot heal that, else nil. of is
// the topic or the subscription in the error. A connection that has worked will work again: a broker restarts, a token is
// renewed. Credentials are those of the cluster; a handshake that fails concerns one host, and another one may work.
func (l *Log) FatalConnection(of string) error {
	l.mu.Lock()
	last, connected, hopeless := l.last, l.connected, len(l.hopeless)
	l.mu.Unlock()
	switch {
	case connected, pulsarname.Limit(last.reason()) != "", last.hopeless() && hopeless < pulsarprobe.Hosts(l.url):
		return nil
	case last.refused != "":
		return fmt.Errorf("%w: %s: %s: the broker says %q (check Config.Authentication)", ErrRefused, of, l.url, last.refused)
	case says(last.err, "invalid_client", "unauthorized_client", "invalid_grant"): // RFC 6749, section 5.2
		return fmt.Errorf("%w: %s: %s: the authorization server says %w (check the parameters of OAuth2)", ErrRefused, of, l.url, last.err)
	case Certificate(last.err):
		return fmt.Errorf("pulsar: %s: TLS to %s: %w (check Config.TLS: root certificates, server name, client certificate)", of, l.url, last.err)
	case plain(last.err):
		return fmt.Errorf("pulsar: %s: %s does not speak TLS: %w (use a pulsar:// URL, or another port)", of, l.url, last.err)
	}
	return nil
}

// typeForbidden reports whether the broker does not allow subscriptions of a type.
func typeForbidden(err error) bool { return says(err, "doesn't support") && says(err, "sub type") }
