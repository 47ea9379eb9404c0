package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/keystrand/keystrand/internal/kafkanet"
)

// diagnose returns an error if the port of a broker needs another configuration; cause is the error of the connection. A
// broker closes such a connection without a reason, as does a stopping broker. diagnose connects in the other ways: an answer
// is proof.
func (c *Client) diagnose(ctx context.Context, addr string, cause error) error {
	if failed, ok := errors.AsType[*kafkanet.Error](cause); ok && failed.Connecting() {
		return nil // no broker listens
	}
	var speaksTLS, speaksPlain, wantsSASL bool
	var asking sync.WaitGroup
	asking.Go(func() { speaksTLS = c.speaksTLS(ctx, addr) })
	if c.TLS != nil {
		asking.Go(func() { speaksPlain = c.speaksPlain(ctx, addr) })
	}
	if c.SASL == nil && disconnected(cause) { // a broker that is silent may be frozen, and thaw meanwhile
		asking.Go(func() { wantsSASL = c.wantsSASL(ctx, addr) })
	}
	asking.Wait()
	switch {
	case c.TLS == nil && speaksTLS:
		return fmt.Errorf("kafka: %s expects TLS: %w (set Config.TLS, or use another port)", addr, cause)
	case c.TLS != nil && !speaksTLS && speaksPlain:
		return fmt.Errorf("kafka: %s does not speak TLS: %w (leave Config.TLS empty, or use another port)", addr, cause)
	case wantsSASL:
		return fmt.Errorf("kafka: %s expects SASL: %w (set Config.SASL, or use another port)", addr, cause)
	case errors.Is(cause, kafkanet.ErrHTTP), !disconnected(cause) && c.speaksHTTP(ctx, addr):
		return fmt.Errorf("kafka: %s is a web server: %w (give the address of a Kafka listener, often port 9092)", addr, cause)
	case errors.Is(cause, kafkanet.ErrForeign):
		return fmt.Errorf("kafka: %s is no Kafka broker: %w (give the address of a Kafka listener, often port 9092)", addr, cause)
	}
	return nil
}

// disconnected reports whether the broker has ended the connection; a web server answers, or waits for the rest of the request.
func disconnected(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

// diagnoseTimeout bounds each connection of diagnose. A server of another protocol may never answer.
const diagnoseTimeout = 2 * time.Second

func (c *Client) speaksTLS(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	conn, err := c.Net.Connect(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	// The handshake only shows whether the broker speaks TLS; nothing is sent over it.
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
}

// speaksHTTP makes a request for a page. Kafka's brokers take it for a length that is too large, and disconnect.
func (c *Client) speaksHTTP(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	raw, err := c.Net.Connect(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	conn := raw
	if c.TLS != nil {
		conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, "HEAD / HTTP/1.0\r\n\r\n"); err != nil {
		return false
	}
	line, _ := bufio.NewReaderSize(conn, 16).Peek(5)
	return strings.HasPrefix(string(line), "HTTP/")
}

func (c *Client) speaksPlain(ctx context.Context, addr string) bool {
	d := c.plain()
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

// plain returns a dialer without TLS and SASL.
func (c *Client) plain() kafkago.Dialer {
	return kafkago.Dialer{
		ClientID: c.ClientID,
		Timeout:  diagnoseTimeout,
		DialFunc: c.Net.Connect,
	}
}

type noMechanism struct{}

func (noMechanism) Name() string { return "KEYSTRAND-WHICH" }

func (noMechanism) Start(context.Context) (sasl.StateMachine, []byte, error) {
	return nil, nil, errors.New("kafka: no such mechanism")
}
