package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

var (
	// ErrStartTimeout is what Accept returns when Config.StartTimeout has passed before the group was joined.
	ErrStartTimeout = errors.New("kafka: the group could not be joined in time")
	// ErrTopicMissing is what Accept returns when a topic does not exist.
	ErrTopicMissing = errors.New("kafka: the topic does not exist")
	// ErrForeignProgress is what Accept returns with policy ForeignFail.
	ErrForeignProgress = errors.New("kafka: committed progress is not ours")
)

// fatal returns an error for the user if waiting cannot heal err, nil if it can. What is not in this table is waited
// for: an error that is told in the log and in Report while the program tries again does less harm than a program that
// has ended at night because of a broker's new error code.
func (s *Source) fatal(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, kafkago.UnsupportedVersion) || strings.Contains(err.Error(), noVersion) {
		return fmt.Errorf("kafka: group %q, brokers %v: a broker is too old or too new: %w", s.group, s.brokers, err)
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		if f := s.fatalCode(code); f != nil {
			return f
		}
	}
	if _, ok := errors.AsType[*metadata.PermissionError](err); ok {
		return fmt.Errorf("kafka: group %q: %w", s.group, err)
	}
	if certificate(err) {
		return fmt.Errorf("kafka: TLS to %v: %w (check Config.TLS: root certificates, server name, client certificate)", s.brokers, err)
	}
	return nil
}

// noVersion is what kafka-go says, without a type, when it shares no version of a request with a broker.
const noVersion = "no matching versions were found between the client and the broker"

func (s *Source) fatalCode(code kafkago.Error) error {
	switch code { //nolint:exhaustive // everything else is waited for
	case kafkago.InvalidSessionTimeout:
		return fmt.Errorf("kafka: group %q: the broker does not allow a session timeout of %v: %w "+
			"(group.min.session.timeout.ms and group.max.session.timeout.ms, 6 s and 30 min by default)", s.group, s.cfg.SessionTimeout, code)
	case kafkago.InconsistentGroupProtocol:
		return fmt.Errorf("kafka: group %q has live members of another kind: %w (another client, group.protocol=consumer, "+
			"or a strategy that we do not know; stop them all, or use another group)", s.group, code)
	case kafkago.InvalidGroupId:
		return fmt.Errorf("kafka: group %q is not a name that the broker accepts: %w", s.group, code)
	case kafkago.GroupAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: not permitted: %w (grant READ on the group)", s.group, code)
	case kafkago.TopicAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: topics %v: not permitted: %w (grant READ and DESCRIBE)", s.group, s.topics, code)
	case kafkago.ClusterAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: the cluster refuses us: %w", s.group, code)
	case kafkago.SASLAuthenticationFailed:
		return fmt.Errorf("kafka: SASL %s: the broker refuses the credentials: %w", s.mechanism(), code)
	case kafkago.UnsupportedSASLMechanism:
		return fmt.Errorf("kafka: SASL %s: the broker does not offer this mechanism: %w", s.mechanism(), code)
	case kafkago.IllegalSASLState:
		return fmt.Errorf("kafka: SASL %s: the broker's port does not expect SASL: %w (leave Config.SASL empty, or use another port)",
			s.mechanism(), code)
	case kafkago.InvalidTopic:
		return fmt.Errorf("kafka: group %q: topics %v: a name is not one that brokers accept: %w", s.group, s.topics, code)
	case kafkago.InvalidRequest, kafkago.UnsupportedForMessageFormat, kafkago.SecurityDisabled:
		return fmt.Errorf("kafka: group %q: the broker refuses a request and would refuse it again: %w", s.group, code)
	case kafkago.UnsupportedVersion:
		return fmt.Errorf("kafka: group %q: a broker is too old or too new for a request: %w", s.group, code)
	}
	return nil
}

// worded adds the words that kafka-go does not have for an error code that passes.
func worded(err error) error {
	if errors.Is(err, kafkago.GroupMaxSizeReached) {
		return fmt.Errorf("%w the group has as many members as the brokers allow (group.max.size)", err)
	}
	return err
}

func (s *Source) mechanism() string {
	if s.cfg.SASL == nil {
		return "(none)"
	}
	return s.cfg.SASL.Name()
}

// certificate tells whether err is a TLS handshake that fails again however often it is tried.
func certificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.As(err, &invalid) || refusesCertificate(err)
}

// refusesCertificate tells whether the broker has ended a handshake with an alert about our certificate, or about the
// lack of one. An alert from the other side has no type of its own in crypto/tls: tls.AlertError is for QUIC alone. What a
// broker that is being stopped may say (internal error, user canceled) passes.
func refusesCertificate(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	if !ok || alert.Op != "remote error" || alert.Err == nil {
		return false
	}
	text := alert.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "handshake failure") ||
		strings.Contains(text, "protocol version") || strings.Contains(text, "access denied")
}

// ended tells whether err only says that our own ctx has ended.
func ended(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }
