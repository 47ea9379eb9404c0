package kafka

import (
	"crypto/tls"
	"errors"

	"github.com/segmentio/kafka-go"
)

// cure is the action after an error.
type cure uint8

const (
	heal   cure = iota // transient: look up the leader, wait and retry
	report             // retrying does not help until an operator acts: return the error at once
	forbid             // retrying cannot help: return a permanent error
	split              // one message of the batch is refused: find it
)

// cureFor returns the action for an error. The codes are listed in https://kafka.apache.org/protocol#protocol_error_codes.
// The table differs from Kafka's "retriable", because most retriable codes here mean that another broker must be asked.
func cureFor(err error) cure {
	code, ok := errors.AsType[kafka.Error](err)
	if !ok {
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
			return report
		}
		if _, bad := errors.AsType[tls.RecordHeaderError](err); bad {
			return report // the port does not use TLS
		}
		return heal // a broken connection or a timeout
	}
	switch code {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge: // the limit of the topic may be below MaxBatchBytes
		return split
	case kafka.InvalidRecord, kafka.InvalidTimestamp: // no key in a compacted topic; a time outside the bounds of the topic
		return split
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTopic, kafka.PolicyViolation,
		kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType, kafka.InvalidRequiredAcks:
		return forbid
	case kafka.UnknownTopicOrPartition, // a new topic that some brokers do not know yet
		kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable, kafka.NetworkException, kafka.RequestTimedOut,
		kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.KafkaStorageError,
		kafka.InvalidMessage: // wrong checksum: damaged in transit
		return heal
	default:
	}
	return report // SASLAuthenticationFailed, UnsupportedSASLMechanism, UnsupportedVersion and unknown codes
}

// loginFailed reports whether the broker refused the credentials or the mechanism.
func loginFailed(err error) bool {
	code, ok := errors.AsType[kafka.Error](err)
	return ok && (code == kafka.SASLAuthenticationFailed || code == kafka.UnsupportedSASLMechanism || code == kafka.IllegalSASLState)
}
