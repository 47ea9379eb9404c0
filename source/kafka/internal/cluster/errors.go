package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrUnknownTopic is the answer to a question about a topic that the cluster does not have.
	ErrUnknownTopic = errors.New("kafka: the topic does not exist")
	// ErrTopicGone says that a topic or partition that was being read does not exist any more. The position means
	// nothing now: the caller drops it.
	ErrTopicGone = errors.New("kafka: the topic or partition was deleted")
	// ErrRecreated says that the topic was deleted and made again: what has this name now is another log. The
	// position means nothing in it: the caller drops it and begins from what is committed for the new log.
	ErrRecreated = errors.New("kafka: the topic was deleted and made again")
)

// PermissionError says that the credentials do not allow something, or are not accepted at all.
type PermissionError struct {
	Topic string // empty if it is not about a topic
	Err   error
}

func (e *PermissionError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("kafka: not permitted: %v", e.Err)
	}
	return fmt.Sprintf("kafka: topic %s: not permitted: %v (grant READ and DESCRIBE)", e.Topic, e.Err)
}

func (e *PermissionError) Unwrap() error { return e.Err }

// Fatal tells whether an error cannot heal by asking again: it is worth an end, not a retry. What is not in this table
// passes: brokers restart (connections break, BrokerNotAvailable, NetworkException, RequestTimedOut, Unknown), leaders
// move (NotLeaderForPartition, LeaderNotAvailable, ReplicaNotAvailable, FencedLeaderEpoch, UnknownLeaderEpoch,
// KafkaStorageError, OffsetNotAvailable), brokers hear late of topics (UnknownTopicOrPartition, UnknownTopicID,
// InconsistentTopicID: final after some seconds, by the metadata), or are busy (ThrottlingQuotaExceeded).
func Fatal(err error) bool {
	for _, final := range []error{ErrUnknownTopic, ErrTopicGone, ErrRecreated} {
		if errors.Is(err, final) {
			return true
		}
	}
	if _, ok := errors.AsType[*PermissionError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok { // not whom we trust, and never will be
		return true
	}
	code, _ := errors.AsType[kafka.Error](err)
	switch code {
	case kafka.UnsupportedVersion, // a broker older than all versions we write
		kafka.InvalidTopic,   // no broker will ever have this name
		kafka.InvalidRequest, // a fault of ours: the same bytes get the same answer
		kafka.UnsupportedForMessageFormat:
		return true
	default:
		return denies(err)
	}
}

// denies tells whether an error is about credentials. Java's consumer ends on these too: access that is given later
// deserves a start that is seen.
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

// Named turns a final error about a topic into one that says so.
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
