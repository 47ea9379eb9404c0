// Package cluster connects a source to the brokers of one Kafka cluster. It retries requests, separates errors that heal
// from errors that do not, and names the cause of a connection that cannot work. It knows no partitions.
package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cenkalti/backoff/v4"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/keystrand/keystrand/internal/kafkanet"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source/internal/health"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

const (
	// RequestTimeout bounds one request.
	RequestTimeout = 10 * time.Second
	// DialTimeout bounds one attempt to connect.
	DialTimeout = kafkanet.HandshakeTimeout
)

// Config has the brokers, and the names that errors mention. Every field but TLS and SASL is required.
type Config struct {
	Brokers        []string
	Group          string
	Topics         []string
	ClientID       string
	SessionTimeout time.Duration
	Backoff        time.Duration // the first delay between two attempts
	TLS            *tls.Config
	SASL           sasl.Mechanism
	Dial           func(ctx context.Context, network, address string) (net.Conn, error)
	MaxWait        time.Duration // of a fetch
	Log            *slog.Logger
}

// Client sends requests of one source. A Client is safe for concurrent use.
type Client struct {
	Config
	Net       *kafkanet.Dialer
	Dialer    *kafkago.Dialer
	Transport *kafkago.Transport
	Health    *health.Health

	requests *kafkago.Client
}

// New returns a Client. It makes no connection.
func New(cfg Config) *Client {
	connections := kafkanet.New(kafkanet.Config{Brokers: cfg.Brokers, TLS: cfg.TLS, Dial: cfg.Dial, MaxWait: cfg.MaxWait, Log: cfg.Log})
	transport := cfg.newTransport(cfg.ClientID, connections)
	return &Client{
		Config: cfg,
		Net:    connections,
		Dialer: &kafkago.Dialer{
			ClientID:      cfg.ClientID,
			DialFunc:      connections.DialContext,
			Timeout:       DialTimeout,
			SASLMechanism: connections.SASL(cfg.SASL),
		},
		Transport: transport,
		Health:    health.New(cfg.Log, "kafka"),
		requests:  &kafkago.Client{Addr: connections.Bootstrap(), Transport: transport, Timeout: RequestTimeout},
	}
}

// NewTransport returns a Transport with connections of its own. The caller closes idle ones; Close closes all.
func (c *Client) NewTransport(clientID string) *kafkago.Transport {
	return c.newTransport(clientID, c.Net)
}

func (c *Config) newTransport(clientID string, connections *kafkanet.Dialer) *kafkago.Transport {
	return &kafkago.Transport{
		ClientID:       clientID,
		Dial:           connections.DialContext,
		DialTimeout:    DialTimeout,
		SASL:           connections.SASL(c.SASL),
		MetadataTTL:    time.Second,
		MetadataTopics: c.Topics,
	}
}

// Close closes all connections. What still waits for a broker fails.
func (c *Client) Close() {
	c.Transport.CloseIdleConnections()
	c.Net.Close()
}

// RoundTrip sends one request to the broker that it is for. It blocks until the answer or the end of ctx.
func (c *Client) RoundTrip(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	return c.Transport.RoundTrip(ctx, c.requests.Addr, req)
}

// Members returns the live members of the group. It asks once.
func (c *Client) Members(ctx context.Context) ([]kafkago.DescribeGroupsResponseMember, error) {
	resp, err := c.requests.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{GroupIDs: []string{c.Group}})
	if err != nil {
		return nil, err
	}
	if len(resp.Groups) == 0 {
		return nil, errors.New("the response does not contain the group")
	}
	g := resp.Groups[0]
	if errors.Is(g.Error, kafkago.GroupIdNotFound) {
		return nil, nil
	}
	return g.Members, g.Error
}

// Leave removes members from the group. It asks once.
func (c *Client) Leave(ctx context.Context, members []kafkago.LeaveGroupRequestMember) error {
	_, err := c.requests.LeaveGroup(ctx, &kafkago.LeaveGroupRequest{GroupID: c.Group, Members: members})
	return err
}

// Report records that the operation what fails, or with nil that it has recovered.
func (c *Client) Report(ctx context.Context, what string, err error) {
	if err == nil {
		c.Health.Works(ctx, what)
		return
	}
	if c.Fatal(err) == nil { // Accept returns it
		c.Health.Fails(ctx, what, fmt.Errorf("group %q: %w", c.Group, err))
	}
}

// Retry calls f until it succeeds, ctx ends, or f returns a fatal error or a [backoff.PermanentError]. Health shows a
// failing f as the operation what.
func (c *Client) Retry(ctx context.Context, what string, f func(context.Context) error) error {
	bo := NewBackoff(c.Backoff)
	for again := (wire.Reconnects{}); ; {
		asking, cancel := context.WithTimeout(ctx, 2*RequestTimeout)
		err := f(asking)
		cancel()
		if err == nil {
			c.Health.Works(ctx, what)
			return nil
		}
		if ctx.Err() != nil {
			c.Health.Forget(what) // the next generation may have no reason to retry it
			return context.Cause(ctx)
		}
		if p, ok := errors.AsType[*backoff.PermanentError](err); ok {
			return p.Err
		}
		if fatal := c.Fatal(err); fatal != nil {
			return fatal
		}
		if again.Again(err) {
			continue
		}
		c.Fails(ctx, what, fmt.Errorf("group %q: %w", c.Group, Explain(err)))
		if !Sleep(ctx, bo.NextBackOff()) {
			c.Health.Forget(what)
			return context.Cause(ctx)
		}
	}
}

// coordinatorPatience is how long a group may have no coordinator before that is a warning: a new cluster makes its topic of
// offsets first, and a coordinator that has moved loads the group.
const coordinatorPatience = 10 * time.Second

// Fails records that the operation what fails, and is retried.
func (c *Client) Fails(ctx context.Context, what string, err error) {
	normal := time.Duration(0)
	if Moving(err) {
		normal = coordinatorPatience
	}
	c.Health.Waits(ctx, what, err, normal)
}

// NewBackoff returns delays that grow from first to ten times first, without end.
func NewBackoff(first time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first),
		backoff.WithMaxInterval(10*first),
		backoff.WithMaxElapsedTime(0),
	)
}

// Sleep reports whether it slept for d; false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool { return pause.For(ctx, d) == nil }
