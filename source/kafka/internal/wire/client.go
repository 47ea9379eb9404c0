package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Client sends exchanges. It is a value: copies share the Transport. It is safe for concurrent use.
type Client struct {
	// Brokers are the addresses to begin with, host:port. Required.
	Brokers []string
	// Bootstrap is the address of any of Brokers. Default: the library's own for them.
	Bootstrap net.Addr
	// Transport carries the requests. Share one among all clients, with a short MetadataTTL (1 s): it learns from its
	// metadata which brokers there are. Required.
	Transport *kafka.Transport
	// Gate bounds how many requests that are answered at once are under way together: the Transport opens a connection for each.
	// Default: no bound.
	Gate *Gate
	// RequestTimeout bounds a request; after it the connection is closed. Default: 10 s.
	RequestTimeout time.Duration
}

// Validate returns all errors of the configuration.
func (c *Client) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no brokers"))
	}
	if c.Transport == nil {
		errs = append(errs, errors.New("no transport"))
	}
	if c.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("RequestTimeout is negative: %v", c.RequestTimeout))
	}
	return errors.Join(errs...)
}

// Do sends x and waits for its response, at most RequestTimeout beyond wait, the time that the broker may hold the
// request back. If the broker closes the connection, Do sends x again over another: a request must have the same effect if it
// is sent twice.
func (c *Client) Do(ctx context.Context, x *Exchange, wait time.Duration) error {
	x.clientID = c.Transport.ClientID
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, wait+cmp.Or(c.RequestTimeout, 10*time.Second))
	defer cancel()
	if wait == 0 {
		defer c.Gate.enter(ctx)()
	}
	addr := c.Bootstrap
	if addr == nil {
		addr = kafka.TCP(c.Brokers...)
	}
	for again := (Reconnects{}); ; {
		_, err := c.Transport.RoundTrip(ctx, addr, x.routed())
		if err != nil && ctx.Err() != nil {
			x.abort() // the library continues the request: its connection would be in use until the response comes
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return fmt.Errorf("no response within %v: %w", time.Since(sent).Round(time.Millisecond), err) // ctx of the caller may end first
			}
			return context.Cause(ctx)
		}
		if !again.Again(err) {
			return err
		}
	}
}

// Versions has the newest version of each request that a broker supports.
type Versions map[int16]int16

// Versions asks a broker which versions it supports (ApiVersions v0).
func (c *Client) Versions(ctx context.Context, broker int32) (Versions, error) {
	x := &Exchange{Key: KeyVersions, Broker: broker}
	if err := c.Do(ctx, x, 0); err != nil {
		return nil, err
	}
	r := x.Payload()
	code := r.I16()
	v := Versions{}
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		key, _, newest := r.I16(), r.I16(), r.I16()
		v[key] = newest
	}
	if err := CodeError(code); err != nil {
		return nil, err
	}
	return v, Malformed("ApiVersions", r.Err)
}

// Choose returns the version of a request to use: at most ours, the newest that is written here, and at least the oldest.
func (v Versions) Choose(key, least, ours int16) (int16, error) {
	if v[key] < least {
		return 0, fmt.Errorf("kafka: the broker supports %v up to version %d only, %d is required (Kafka 2.0 or newer): %w",
			protocol.ApiKey(key), v[key], least, kafka.UnsupportedVersion)
	}
	return min(v[key], ours), nil
}

// CodeError returns the error of an error code, nil for none.
func CodeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}

// Malformed names the response in which a Reader has failed; nil stays nil.
func Malformed(what string, err error) error {
	if err != nil {
		return fmt.Errorf("malformed %s response: %w", what, err)
	}
	return nil
}
