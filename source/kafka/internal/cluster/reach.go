package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/internal/kafkanet"
)

const (
	// nextBroker is how long a broker may take before Reach asks the next one as well.
	nextBroker = 500 * time.Millisecond
	// otherBrokers is how long Reach waits for other brokers once one has refused for good.
	otherBrokers = 2 * time.Second
)

// Reach blocks until a broker answers. It asks all of them, and does not wait for one that is silent. It returns an error if
// no broker answers and retrying cannot help: refused credentials or certificates, TLS or SASL on one side only, another
// protocol on the port.
func (c *Client) Reach(ctx context.Context) error {
	bo := NewBackoff(c.Backoff)
	for {
		err := c.reachAny(ctx)
		if err == nil {
			c.Health.Works(ctx, "connect")
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused, ok := errors.AsType[*refusedError](err); ok {
			return refused.err
		}
		c.Health.Fails(ctx, "connect", err)
		if !Sleep(ctx, bo.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// refusedError is the error of a broker for which retrying cannot help.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }

// reachAny asks each broker once. It returns nil if one answers, a [refusedError] if one refuses for good, else all errors.
func (c *Client) reachAny(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	type answer struct {
		broker int
		err    error
	}
	answers := make(chan answer)
	asked, left := 0, len(c.Brokers)
	defer func() { // the goroutines end with ctx
		for cancel(); left > len(c.Brokers)-asked; left-- {
			<-answers
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	errs := make([]error, len(c.Brokers)) // in the order of the list, so that the same errors are the same text
	var refused error
	enough := time.NewTimer(time.Hour)
	enough.Stop()
	defer enough.Stop()
	for left > 0 {
		select {
		case <-next.C:
			if asked < len(c.Brokers) {
				go func(broker int) { answers <- answer{broker, c.reach(ctx, c.Brokers[broker])} }(asked)
				asked++
				next.Reset(nextBroker)
			}
		case a := <-answers:
			left--
			if a.err == nil {
				return nil
			}
			if _, ok := a.err.(*refusedError); ok && refused == nil { //nolint:errorlint // reach returns it bare
				refused = a.err
				enough.Reset(otherBrokers)
			}
			errs[a.broker] = a.err
			next.Reset(0)
		case <-enough.C:
			return refused
		}
	}
	if refused != nil {
		return refused
	}
	return errors.Join(errs...)
}

// reach asks one broker for the brokers of the cluster.
func (c *Client) reach(ctx context.Context, addr string) error {
	err := ask(ctx, *c.Dialer, addr, func(conn *kafkago.Conn) error {
		_, err := conn.Brokers()
		return err
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err = Explain(err); !kafkanet.Names(err) {
		err = fmt.Errorf("broker %s: %w", addr, err)
	}
	if fatal := c.Fatal(err); fatal != nil {
		return &refusedError{fmt.Errorf("%w [broker %s]", fatal, addr)}
	}
	if cause := c.Net.Diagnose(ctx, addr, c.SASL != nil, err); cause != nil {
		return &refusedError{fmt.Errorf("kafka: %w", cause)}
	}
	return err
}

// ask connects to a broker and asks it one question, all within the dialer's timeout.
func ask(ctx context.Context, d kafkago.Dialer, addr string, question func(*kafkago.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	dial := d.DialFunc
	d.DialFunc = func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialing, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // the library's requests take no ctx
		}
		return conn, err
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		err = question(conn)
		_ = conn.Close() // nothing was written that could be lost
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &kafkanet.SilentError{Address: addr, After: d.Timeout, Err: err}
	}
	return err
}
