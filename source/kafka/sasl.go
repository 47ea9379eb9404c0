package kafka

import (
	"context"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Plain authenticates with user and password in clear: use it with TLS only. What it returns never prints the password.
func Plain(user, password string) sasl.Mechanism {
	return &credentials{name: "PLAIN", user: user, start: plain.Mechanism{Username: user, Password: password}.Start}
}

// SCRAMSHA256 authenticates with SCRAM-SHA-256. What it returns never prints the password.
func SCRAMSHA256(user, password string) sasl.Mechanism {
	return newSCRAM("SCRAM-SHA-256", scram.SHA256, user, password)
}

// SCRAMSHA512 authenticates with SCRAM-SHA-512. What it returns never prints the password.
func SCRAMSHA512(user, password string) sasl.Mechanism {
	return newSCRAM("SCRAM-SHA-512", scram.SHA512, user, password)
}

// credentials is a mechanism that keeps its secret where no formatting verb looks: in a closure. kafka-go's PLAIN is a
// struct with the password in it, which a log line of a configuration would show.
//
// Its fields are not changed; it is safe for concurrent use.
type credentials struct {
	name, user string
	err        error // of the user name or password, reported by New
	start      func(context.Context) (sasl.StateMachine, []byte, error)
}

func newSCRAM(name string, algorithm scram.Algorithm, user, password string) *credentials {
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		return &credentials{name: name, user: user, err: err}
	}
	return &credentials{name: name, user: user, start: m.Start}
}

// Name is part of sasl.Mechanism.
func (c *credentials) Name() string { return c.name }

// Start is part of sasl.Mechanism.
func (c *credentials) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	if c.err != nil {
		return nil, nil, c.err
	}
	return c.start(ctx)
}

// String names mechanism and user.
func (c *credentials) String() string { return c.name + " as " + c.user }
