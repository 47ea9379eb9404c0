package pulsar

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

// cure is what to do about an error.
type cure uint8

const (
	heal   cure = iota // it passes: wait a little, open a new producer and write again
	report             // waiting does not help, but a person may: tell it at once
	forbid             // this message, or this topic, will never be written: permanent
	split              // one message of the batch is to blame: find it
)

var (
	errClosed   = errors.New("the client library's producer is closed")
	errNoAnswer = errors.New("the client library gave no answer for it")
)

// cureFor is the table of errors. The library gives most of the broker's answers as a text that begins with the name of
// the ServerError (https://pulsar.apache.org/docs/developing-binary-protocol, PulsarApi.proto).
func cureFor(err error) cure {
	var refused *refusal
	switch {
	case errors.Is(err, pulsar.ErrMessageTooLarge), errors.Is(err, pulsar.ErrMetaTooLarge), isExceeded(err):
		return split
	case errors.Is(err, pulsar.ErrTopicTerminated):
		return forbid
	case errors.As(err, &refused):
		return report
	}
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return report
	}
	if _, bad := errors.AsType[tls.RecordHeaderError](err); bad {
		return report // the port speaks no TLS
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return heal // ours, looked at by who waits; or the library's, which gives it beside what is told above
	}
	text := err.Error()
	for _, row := range []struct {
		name string
		cure cure
	}{
		{"TopicTerminated", forbid},
		{"AuthorizationError", forbid},
		{"InvalidTopicName", forbid},
		{"NotAllowedError", report}, // for instance: the namespace allows no more producers, or topics
		{"AuthenticationError", report},
		{"IncompatibleSchema", report},
		{"UnsupportedVersionError", report},
		{"ProducerBlockedQuotaExceeded", heal}, // Error and Exception: two policies of one quota
		{"TopicNotFound", report},              // whoever deleted it, or has not made it yet, may make it
	} {
		if strings.Contains(text, row.name) {
			return row.cure
		}
	}
	return heal // connections break and time out, brokers unload a topic, bookies are away
}

// isExceeded recognizes the error for a batch that is too large with its metadata: the library does not export it.
func isExceeded(err error) bool {
	return strings.Contains(err.Error(), "exceeds MaxMessageSize")
}
