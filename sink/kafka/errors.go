package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/internal/kafkanet"
	"github.com/keystrand/keystrand/sink"
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
		if kafkanet.RefusesCertificate(err) {
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

var loginHints = map[kafka.Error]string{ //nolint:gochecknoglobals // immutable table
	kafka.SASLAuthenticationFailed: "check Config.SASL: mechanism, user and password",
	kafka.UnsupportedSASLMechanism: "choose one of the brokers' sasl.enabled.mechanisms",
	kafka.IllegalSASLState:         "leave Config.SASL empty, or use another port",
}

// wrongPort reports whether the port does not speak Kafka's protocol, or only with another configuration. A write is retried,
// because another broker may answer.
func wrongPort(err error) bool {
	return misconfigured(err) || errors.Is(err, kafkanet.ErrTLS) || errors.Is(err, kafkanet.ErrHTTP) || errors.Is(err, kafkanet.ErrForeign)
}

func misconfigured(err error) bool {
	_, ok := errors.AsType[*kafkanet.PortError](err)
	return ok
}

// describe adds the topic and partition to err, and what to do. A negative partition means the whole topic. It marks errors
// that concern the topic with [sink.ErrDestination].
func describe(cfg *Config, topic string, partition int32, err error) error {
	code, _ := errors.AsType[kafka.Error](err)
	switch {
	case err == nil:
		return nil
	case cfg.SASL != nil && loginFailed(err):
		err = destinationError{fmt.Errorf("authenticate with %s: %w (%s)", cfg.SASL.Name(), err, loginHints[code])}
	case misconfigured(err): // it says what to do
	case kafkanet.RefusesCertificate(err):
		err = fmt.Errorf("%w (check Config.TLS: root certificates, server name, client certificate)", err)
	case errors.Is(err, kafkanet.ErrTLS):
		err = fmt.Errorf("%w (set Config.TLS, or use another port)", err)
	case wrongPort(err):
		err = fmt.Errorf("%w (give the address of a Kafka listener, often port 9092)", err)
	case cfg.SASL != nil && errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w (check that the port expects %s, and the credentials)", err, cfg.SASL.Name())
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w (check whether the port expects TLS or SASL)", err)
	case code == kafka.UnknownTopicOrPartition:
		err = destinationError{fmt.Errorf("the topic does not exist: create it, the sink creates none: %w", err)}
	case code == kafka.TopicAuthorizationFailed:
		err = destinationError{fmt.Errorf("no permission to write to the topic: allow the operation Write: %w", err)}
	case code == kafka.InvalidTopic, code == kafka.ClusterAuthorizationFailed, code == kafka.PolicyViolation,
		code == kafka.UnsupportedForMessageFormat, code == kafka.UnsupportedCompressionType, code == kafka.InvalidRequiredAcks:
		err = destinationError{err}
	}
	switch {
	case topic == "":
		return fmt.Errorf("kafka: %w", err)
	case partition < 0:
		return fmt.Errorf("kafka: write to topic %s: %w", topic, err)
	}
	return fmt.Errorf("kafka: write to %s/%d: %w", topic, partition, err)
}

// destinationError marks err with [sink.ErrDestination], without a change of its text.
type destinationError struct{ error }

func (e destinationError) Unwrap() []error { return []error{e.error, sink.ErrDestination} }
