package kafkanet

import (
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// step is what a connection waits for: to be made, or the answer to a request, by its API key.
type step int32

const (
	stepCredentials step = -4 // a call of the SASL mechanism
	stepConnect     step = -3
	stepTLS         step = -2
	stepIdle        step = -1

	stepFetch        step = 1
	stepJoin         step = 11
	stepSync         step = 14
	stepSASL         step = 17
	stepVersions     step = 18
	stepAuthenticate step = 36
)

// String returns the name for logs.
func (s step) String() string {
	switch s { //nolint:exhaustive // the others are requests
	case stepCredentials:
		return "SASL credentials"
	case stepConnect:
		return "connect"
	case stepTLS:
		return "TLS handshake"
	case stepIdle:
		return "idle"
	}
	return protocol.ApiKey(s).String()
}

// rank orders the steps of a connection: an answer to a later step proves the earlier ones.
func (s step) rank() int {
	switch s { //nolint:exhaustive // the others come after the handshake
	case stepConnect:
		return 0
	case stepTLS:
		return 1
	case stepVersions:
		return 2
	case stepSASL:
		return 3
	case stepAuthenticate, stepCredentials:
		return 4
	}
	return ready
}

// ready is the rank of all steps after the handshake.
const ready = 5

// waitsForOthers reports whether a broker answers only when other members of the group have acted.
func (s step) waitsForOthers() bool { return s == stepJoin || s == stepSync }

// patience is how long a broker may be silent before that is logged.
const patience = time.Second

func (s step) patience(maxWait time.Duration) time.Duration {
	if s == stepFetch {
		return patience + maxWait
	}
	return patience
}
