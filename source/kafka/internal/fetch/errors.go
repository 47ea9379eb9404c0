package fetch

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
	// ErrClosed is what Read returns after Close.
	ErrClosed = errors.New("kafka: the reader is closed")
)

// OutOfRangeError says that a position is not in the log: records were deleted before they were read (Offset < First),
// or the log was cut or replaced (Offset > Last). It is returned with policy Fail, and with every policy when going on
// would mean going back: then the caller begins anew with an offset from [Offsets].
type OutOfRangeError struct {
	Topic               string
	Partition           int32
	Offset, First, Last int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("kafka: topic %s partition %d: offset %d is out of range, the log holds %d to %d: "+
		"records were deleted before they were read, or the log was cut; choose where to go on (earliest or latest)",
		e.Topic, e.Partition, e.Offset, e.First, e.Last)
}

// CorruptError says that the data at Offset cannot be read: a checksum that does not match, a codec nobody knows, a
// record that is not one. Everything before Offset was returned; the position stands at it.
type CorruptError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("kafka: topic %s partition %d: the data at offset %d cannot be read: %v "+
		"(check the disks of the brokers, or begin behind that batch)", e.Topic, e.Partition, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

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
	for _, final := range []error{ErrUnknownTopic, ErrTopicGone, ErrRecreated, ErrClosed} {
		if errors.Is(err, final) {
			return true
		}
	}
	if _, ok := errors.AsType[*OutOfRangeError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*CorruptError](err); ok {
		return true
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

// named turns a final error about a topic into one that says so.
func named(err error, topic string) error {
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
