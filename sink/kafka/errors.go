package kafka

import (
	"crypto/tls"
	"errors"

	"github.com/segmentio/kafka-go"
)

// cure is what to do about an error.
type cure uint8

const (
	heal   cure = iota // it passes: look for the leader, wait a little and write again
	report             // waiting does not help, but a person may: tell it at once
	forbid             // this message, or this topic, will never be written: permanent
	split              // one message of the batch is to blame: find it
)

// cureFor is the table of errors. Codes: https://kafka.apache.org/protocol#protocol_error_codes; whether Kafka calls a
// code retriable is only a hint, since most retriable ones here mean "ask another broker".
func cureFor(err error) cure {
	code, ok := errors.AsType[kafka.Error](err)
	if !ok {
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
			return report
		}
		if _, bad := errors.AsType[tls.RecordHeaderError](err); bad {
			return report // the port speaks no TLS
		}
		return heal // connections break and time out
	}
	switch code {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge: // the topic's limit may be lower than ours
		return split
	case kafka.InvalidRecord, kafka.InvalidTimestamp: // no key in a compacted topic; a time outside the topic's bounds
		return split
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTopic, kafka.PolicyViolation,
		kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType, kafka.InvalidRequiredAcks:
		return forbid
	case kafka.UnknownTopicOrPartition, // just created, and not known everywhere yet
		kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable, kafka.NetworkException, kafka.RequestTimedOut,
		kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.KafkaStorageError,
		kafka.InvalidMessage: // the checksum was wrong: damaged on the way
		return heal
	default:
	}
	return report // SASLAuthenticationFailed, UnsupportedSASLMechanism, UnsupportedVersion and what we do not know
}

// loginFailed tells whether the broker refused our credentials, or the way they were given.
func loginFailed(err error) bool {
	code, ok := errors.AsType[kafka.Error](err)
	return ok && (code == kafka.SASLAuthenticationFailed || code == kafka.UnsupportedSASLMechanism || code == kafka.IllegalSASLState)
}
