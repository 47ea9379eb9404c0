package kafkanet

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/segmentio/kafka-go/sasl"
)

// SASL returns m for the connections of d. Its calls end with their ctx although those of m do not, as one that fetches a
// token may, and are logged if they wait. Its errors are never io.EOF. It returns nil for nil.
func (d *Dialer) SASL(m sasl.Mechanism) sasl.Mechanism {
	if m == nil {
		return nil
	}
	return login{Mechanism: m, dialer: d}
}

type login struct {
	sasl.Mechanism

	dialer *Dialer
}

// Start implements [sasl.Mechanism].
func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	var address string
	if broker := sasl.MetadataFromContext(ctx); broker != nil {
		address = net.JoinHostPort(broker.Host, strconv.Itoa(broker.Port))
	}
	type result struct {
		state sasl.StateMachine
		first []byte
	}
	r, err := call(ctx, l.dialer, address, func() (r result, err error) {
		r.state, r.first, err = l.Mechanism.Start(ctx)
		return r, err
	})
	return loginState{r.state, l.dialer, address}, r.first, err
}

type loginState struct {
	sasl.StateMachine

	dialer  *Dialer
	address string
}

// Next implements [sasl.StateMachine].
func (l loginState) Next(ctx context.Context, challenge []byte) (bool, []byte, error) {
	type result struct {
		done     bool
		response []byte
	}
	r, err := call(ctx, l.dialer, l.address, func() (r result, err error) {
		r.done, r.response, err = l.StateMachine.Next(ctx, challenge)
		return r, err
	})
	return r.done, r.response, err
}

// call returns the result of f, or an error when ctx ends.
func call[T any](ctx context.Context, d *Dialer, address string, f func() (T, error)) (T, error) {
	defer d.peers.watch(ctx, address, stepCredentials)()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err == nil {
		return r.value, nil
	}
	if errors.Is(r.err, io.EOF) {
		r.err = io.ErrUnexpectedEOF
	}
	return r.value, &Error{Address: address, Step: stepCredentials, Err: r.err}
}
