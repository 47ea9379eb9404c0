package metadata

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrUnknownTopic is the error of a request about a topic that does not exist.
	ErrUnknownTopic = errors.New("kafka: the topic does not exist")
	// ErrTopicGone is the error of a topic or partition that was deleted while it was read. The position is void.
	ErrTopicGone = errors.New("kafka: the topic or partition was deleted")
	// ErrRecreated is the error of a topic that was deleted and created again, so that its log is another one. The
	// position is void: the caller starts at the committed offset of the new log.
	ErrRecreated = errors.New("kafka: the topic was deleted and created again")
)

// PermissionError is the error of credentials that are refused, or do not permit the request.
type PermissionError struct {
	Topic string // empty if the error is not about a topic
	Err   error
}

func (e *PermissionError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("kafka: not permitted: %v", e.Err)
	}
	return fmt.Sprintf("kafka: topic %s: not permitted: %v (grant READ and DESCRIBE)", e.Topic, e.Err)
}

func (e *PermissionError) Unwrap() error { return e.Err }

// Fatal reports whether retrying cannot help. All other errors are transient: brokers restart (connections break,
// BrokerNotAvailable, NetworkException, RequestTimedOut, Unknown), leaders move (NotLeaderForPartition, LeaderNotAvailable,
// ReplicaNotAvailable, FencedLeaderEpoch, UnknownLeaderEpoch, KafkaStorageError, OffsetNotAvailable), brokers hear late of topics
// (UnknownTopicOrPartition, UnknownTopicID, InconsistentTopicID: final after some seconds, by the metadata), or are busy
// (ThrottlingQuotaExceeded).
func Fatal(err error) bool {
	for _, final := range []error{ErrUnknownTopic, ErrTopicGone, ErrRecreated} {
		if errors.Is(err, final) {
			return true
		}
	}
	if _, ok := errors.AsType[*PermissionError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // the certificate is not trusted
		return true
	}
	code, _ := errors.AsType[kafka.Error](err)
	switch code {
	case kafka.UnsupportedVersion, // the broker is too old
		kafka.InvalidTopic,   // no broker accepts the name
		kafka.InvalidRequest, // the same bytes get the same answer
		kafka.UnsupportedForMessageFormat:
		return true
	default:
		return denies(err)
	}
}

// denies reports whether an error is about credentials. The Java consumer ends on these too.
func denies(err error) bool {
	code, _ := errors.AsType[kafka.Error](err)
	switch code {
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.GroupAuthorizationFailed,
		kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState, kafka.SecurityDisabled:
		return true
	default:
		return false
	}
}

// Named adds the topic to an error, and returns an error about credentials as a [*PermissionError].
func Named(err error, topic string) error {
	if _, ok := errors.AsType[*PermissionError](err); ok {
		return err
	}
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return &PermissionError{Topic: topic, Err: err}
	case denies(err):
		return &PermissionError{Err: err}
	}
	return fmt.Errorf("kafka: topic %s: %w", topic, err)
}
