package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Reach blocks until a broker answers. It returns an error if retrying cannot help: refused credentials or certificates,
// TLS or SASL on one side only.
func (c *Client) Reach(ctx context.Context) error {
	bo := NewBackoff(c.Backoff)
	for {
		var errs []error
		for _, addr := range c.Brokers {
			err := c.probe(ctx, addr)
			if err == nil {
				c.Health.Works(ctx, "connect")
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if fatal := c.Fatal(err); fatal != nil {
				return fatal
			}
			if cause := c.diagnose(ctx, addr, err); cause != nil {
				return cause
			}
			errs = append(errs, fmt.Errorf("broker %s: %w", addr, err))
		}
		c.Health.Fails(ctx, "connect", errors.Join(errs...))
		if !Sleep(ctx, bo.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// probe asks one broker for the brokers of the cluster.
func (c *Client) probe(ctx context.Context, addr string) error {
	return ask(ctx, *c.Dialer, addr, func(conn *kafkago.Conn) error {
		_, err := conn.Brokers()
		return err
	})
}

// ask connects to a broker and asks it one question, each within the dialer's timeout.
func ask(ctx context.Context, d kafkago.Dialer, addr string, question func(*kafkago.Conn) error) error {
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	if err := conn.SetDeadline(time.Now().Add(d.Timeout)); err != nil {
		return err
	}
	return question(conn)
}

// diagnose returns an error if TLS or SASL is used on one side only; cause is the error of the connection. A broker closes
// such a connection without a reason, as does a stopping broker. diagnose connects in the other way: an answer is proof.
func (c *Client) diagnose(ctx context.Context, addr string, cause error) error {
	var failed *net.OpError
	if errors.As(cause, &failed) && failed.Op == "dial" {
		return nil // no broker listens
	}
	if c.TLS == nil && c.speaksTLS(ctx, addr) {
		return fmt.Errorf("kafka: broker %s expects TLS: %w (set Config.TLS, or use another port)", addr, cause)
	}
	if c.TLS != nil && !c.speaksTLS(ctx, addr) && c.speaksPlain(ctx, addr) {
		return fmt.Errorf("kafka: broker %s does not speak TLS: %w (leave Config.TLS empty, or use another port)", addr, cause)
	}
	if c.SASL == nil && c.wantsSASL(ctx, addr) {
		return fmt.Errorf("kafka: broker %s expects SASL: %w (set Config.SASL, or use another port)", addr, cause)
	}
	return nil
}

func (c *Client) speaksTLS(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	conn, err := c.Dial(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	// The handshake only shows whether the broker speaks TLS; nothing is sent over it.
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
}

func (c *Client) speaksPlain(ctx context.Context, addr string) bool {
	d := *c.Dialer
	d.TLS, d.SASLMechanism, d.Timeout = nil, nil, diagnoseTimeout
	return ask(ctx, d, addr, func(conn *kafkago.Conn) error {
		_, err := conn.ApiVersions()
		return err
	}) == nil
}

// wantsSASL offers a mechanism that no broker has. A port with SASL answers with its own mechanisms; a port without closes
// the connection, or answers that it expects none.
func (c *Client) wantsSASL(ctx context.Context, addr string) bool {
	d := *c.Dialer
	d.SASLMechanism, d.Timeout = noMechanism{}, diagnoseTimeout
	err := ask(ctx, d, addr, func(*kafkago.Conn) error { return nil })
	return errors.Is(err, kafkago.UnsupportedSASLMechanism)
}

// diagnoseTimeout bounds each connection of diagnose. A server of another protocol may never answer.
const diagnoseTimeout = 3 * time.Second

type noMechanism struct{}

func (noMechanism) Name() string { return "KEYSTRAND-WHICH" }

func (noMechanism) Start(context.Context) (sasl.StateMachine, []byte, error) {
	return nil, nil, errors.New("kafka: no such mechanism")
}
