package pulsar

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"
)

// cure is the action after an error.
type cure uint8

const (
	heal   cure = iota // transient: wait, open a new producer and retry
	report             // retrying does not help until an operator acts: return the error at once
	forbid             // retrying cannot help: return a permanent error
	split              // one message of the batch is refused: find it
)

var (
	errClosed   = errors.New("the client library's producer is closed")
	errNoAnswer = errors.New("the client library did not call back for a message")
)

// cureFor returns the action for an error. The library returns most errors of the broker as a text that has the name of the
// ServerError (https://pulsar.apache.org/docs/developing-binary-protocol, PulsarApi.proto).
func cureFor(err error) cure {
	var refused *refusal
	switch {
	case errors.Is(err, pulsar.ErrMessageTooLarge), errors.Is(err, pulsar.ErrMetaTooLarge), isExceeded(err):
		return split
	case errors.Is(err, pulsar.ErrTopicTerminated):
		return forbid
	case errors.As(err, &refused) && !strings.Contains(refused.text, "maximum number of connections"):
		return report
	}
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return report
	}
	if _, bad := errors.AsType[tls.RecordHeaderError](err); bad {
		return report // the port does not use TLS
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return heal // the end of the Write's ctx, which the caller checks, or a timeout of the library
	}
	text := err.Error()
	for _, row := range []struct {
		name string
		cure cure
	}{
		{"TopicTerminated", forbid},
		{"AuthorizationError", forbid},
		{"InvalidTopicName", forbid},
		{"NotAllowedError", report}, // for example: the namespace has its maximum of producers or topics
		{"AuthenticationError", report},
		{"IncompatibleSchema", report},
		{"Encryption is required", report}, // a MetadataError; others heal
		{"UnsupportedVersionError", report},
		{"ProducerBlockedQuotaExceeded", heal}, // followed by Error or Exception, depending on the policy of the quota
		{"TopicNotFound", report},              // the topic may be created later
	} {
		if strings.Contains(text, row.name) {
			return row.cure
		}
	}
	return heal // broken connections, timeouts, unloaded topics, missing bookies
}

// isExceeded reports whether err says that a batch and its metadata are too large. The library does not export this error.
func isExceeded(err error) bool {
	return strings.Contains(err.Error(), "exceeds MaxMessageSize")
}
