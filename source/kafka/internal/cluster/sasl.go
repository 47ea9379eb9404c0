package cluster

import (
	"context"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Credentials is a mechanism that keeps its password in a closure, where no formatting verb looks. kafka-go's PLAIN is a
// struct that prints its password.
//
// Its fields do not change; it is safe for concurrent use.
type Credentials struct {
	Err error // of the user name or the password

	name, user string
	start      func(context.Context) (sasl.StateMachine, []byte, error)
}

// Plain returns credentials for PLAIN.
func Plain(user, password string) *Credentials {
	return &Credentials{name: "PLAIN", user: user, start: plain.Mechanism{Username: user, Password: password}.Start}
}

// SCRAM returns credentials for a SCRAM mechanism.
func SCRAM(name string, algorithm scram.Algorithm, user, password string) *Credentials {
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		return &Credentials{name: name, user: user, Err: err}
	}
	return &Credentials{name: name, user: user, start: m.Start}
}

// Name implements [sasl.Mechanism].
func (c *Credentials) Name() string { return c.name }

// Start implements [sasl.Mechanism].
func (c *Credentials) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	if c.Err != nil {
		return nil, nil, c.Err
	}
	return c.start(ctx)
}

// String returns mechanism and user.
func (c *Credentials) String() string { return c.name + " as " + c.user }
