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

// Fatal tells whether an error cannot heal by asking again: it is then worth an end, not a retry. Everything that is
// not in this table, errors of the network above all, passes: brokers restart, leaders move, certificates of a load
// balancer do not change by themselves but its back ends do.
func Fatal(err error) bool {
	var denied *PermissionError
	var outside *OutOfRangeError
	var corrupt *CorruptError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, ErrUnknownTopic), errors.Is(err, ErrTopicGone), errors.Is(err, ErrRecreated),
		errors.As(err, &denied), errors.As(err, &outside), errors.As(err, &corrupt):
		return true
	case errors.As(err, &cert): // the certificate is not one we trust
		return true
	}
	var code kafka.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case kafka.UnsupportedVersion, kafka.InvalidTopic, kafka.InvalidRequest: // another broker, or a bug of ours
		return true
	case kafka.SecurityDisabled, kafka.UnsupportedForMessageFormat:
		return true
	}
	return denies(code)
}

// denies tells whether an error is about credentials. Java's consumer ends on these too.
func denies(err error) bool {
	for _, code := range []kafka.Error{
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.GroupAuthorizationFailed,
		kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// named turns a final error about a topic into one that says so.
func named(err error, topic string) error {
	var denied *PermissionError
	switch {
	case errors.As(err, &denied):
		return err
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return &PermissionError{Topic: topic, Err: err}
	case denies(err):
		return &PermissionError{Err: err}
	}
	return fmt.Errorf("kafka: topic %s: %w", topic, err)
}
