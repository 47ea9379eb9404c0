package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// do sends x and waits for its response, at most timeout.
func (c *Config) do(ctx context.Context, x *exchange, timeout time.Duration) error {
	x.clientID = c.Transport.ClientID
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := c.Transport.RoundTrip(ctx, kafka.TCP(c.Brokers...), x.routed())
	if err != nil && ctx.Err() != nil {
		x.abort() // the library lets the request run on: its connection would be in use until the response comes
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return fmt.Errorf("no answer in %v: %w", timeout, err)
		}
		return context.Cause(ctx)
	}
	return err
}

// versions are the newest versions that a broker speaks, of the requests made here.
type versions map[int16]int16

// askVersions asks a broker what it speaks (ApiVersions v0).
func (c *Config) askVersions(ctx context.Context, broker int32) (versions, error) {
	x := &exchange{key: keyVersions, broker: broker}
	if err := c.do(ctx, x, c.RequestTimeout); err != nil {
		return nil, err
	}
	r := x.payload()
	code := r.i16()
	v := versions{}
	for n := r.length(); n > 0 && r.err == nil; n-- {
		key, _, newest := r.i16(), r.i16(), r.i16()
		v[key] = newest
	}
	if code != 0 {
		return nil, kafka.Error(code)
	}
	return v, malformed("ApiVersions", r.err)
}

// choose returns the version of a request to use, at most ours, at least the oldest we can write.
func (v versions) choose(key, least, ours int16) (int16, error) {
	if v[key] < least {
		return 0, fmt.Errorf("kafka: the broker speaks %v up to version %d only, %d is needed (Kafka 2.0 or newer): %w",
			protocol.ApiKey(key), v[key], least, kafka.UnsupportedVersion)
	}
	return min(v[key], ours), nil
}

func malformed(what string, err error) error {
	if err != nil {
		return fmt.Errorf("a %s response is malformed: %w", what, err)
	}
	return nil
}
