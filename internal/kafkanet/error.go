package kafkanet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Error is a failure of a connection.
type Error struct {
	Address string
	Step    step
	Err     error // never io.EOF
}

func (e *Error) Error() string { return fmt.Sprintf("broker %s: %v: %v", e.Address, e.Step, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout implements [net.Error].
func (e *Error) Timeout() bool {
	n, ok := errors.AsType[net.Error](e.Err)
	return ok && n.Timeout()
}

// Temporary implements [net.Error].
func (e *Error) Temporary() bool { return e.Timeout() }

// Connecting reports whether there was no connection yet.
func (e *Error) Connecting() bool { return e.Step == stepConnect }

// Names reports whether an error names the broker.
func Names(err error) bool {
	_, failed := errors.AsType[*Error](err)
	_, silent := errors.AsType[*SilentError](err)
	return failed || silent
}

// SilentError is the error of a broker that has not answered in time.
type SilentError struct {
	Address string
	After   time.Duration
	Err     error // of the last step; never io.EOF
}

func (e *SilentError) Error() string {
	if at, ok := errors.AsType[*Error](e.Err); ok {
		return fmt.Sprintf("broker %s: %v: no answer within %v", e.Address, at.Step, e.After)
	}
	return fmt.Sprintf("broker %s: no answer within %v", e.Address, e.After)
}

// Unwrap returns the cause.
func (e *SilentError) Unwrap() error { return e.Err }

var (
	// ErrHTTP is the cause of a connection to a web server.
	ErrHTTP = errors.New("the port answers in HTTP, not in Kafka's protocol")
	// ErrTLS is the cause of a connection without TLS to a port with it.
	ErrTLS = errors.New("the port answers in TLS")
	// ErrForeign is the cause of a connection to a port of another protocol.
	ErrForeign = errors.New("the port does not answer in Kafka's protocol")

	errNoAnswer     = errors.New("no answer")
	errDisconnected = fmt.Errorf("the broker disconnected: %w", io.ErrUnexpectedEOF)
)
