package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// exchange is one request sent through the client library's Transport. It uses the connections, the authentication and the
// version negotiation of the Transport, but not two of its decisions:
//
//   - The broker. The Transport chooses by its own cached metadata, which errors do not refresh, and answers metadata requests
//     from that cache. An exchange names its broker.
//   - The end of a request. When ctx ends, the Transport lets the request continue, so that it could reach the broker after a
//     retry of the caller. An exchange ends with its ctx.
type exchange struct {
	protocol.Message // the request
	broker           int32

	mu      sync.Mutex
	conn    net.Conn      // the connection while the request is in flight, else nil
	aborted bool          // the request must not start
	over    chan struct{} // closed when the request has ended; nil before it starts
}

// reply hides the type of the response from the Transport. The Transport would store a metadata response in its cache.
type reply struct{ protocol.Message }

// anyBroker sends a request over the control connection, to any broker.
const anyBroker = -1

var errAborted = errors.New("request canceled")

// roundTrip sends req to the broker and returns the response. After it returns, req is not read and not sent any more.
func roundTrip(ctx context.Context, t *kafka.Transport, addr net.Addr, timeout time.Duration, broker int32, req protocol.Message) (protocol.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no response within %v", timeout))
	defer cancel()
	x := &exchange{Message: req, broker: broker}
	stop := context.AfterFunc(ctx, x.abort)
	defer stop()

	res, err := t.RoundTrip(ctx, addr, x)
	if err != nil {
		x.abort()
		x.wait()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	r, ok := res.(*reply)
	if !ok {
		return nil, fmt.Errorf("unexpected response %T", res)
	}
	return r.Message, nil
}

// Broker returns the broker to send the request to. The Transport calls it.
func (x *exchange) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: x.broker}, nil
}

// Required returns true, so that the library's connection calls RawExchange.
func (x *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange sends the request and returns the response. The library's connection calls it, and closes on an error.
func (x *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	conn, ok := rw.(*protocol.Conn)
	if !ok {
		return nil, fmt.Errorf("unexpected connection %T", rw)
	}
	if !x.begin(conn) {
		return nil, errAborted
	}
	res, err := conn.RoundTrip(x.Message)
	x.end()
	if err != nil {
		return nil, err
	}
	return &reply{res}, nil
}

func (x *exchange) begin(conn net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.aborted {
		return false
	}
	x.conn, x.over = conn, make(chan struct{})
	return true
}

func (x *exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn = nil
	close(x.over)
}

// abort cancels the request, or prevents it from starting.
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborted = true
	if x.conn != nil {
		_ = x.conn.SetDeadline(time.Unix(1, 0)) // setting a deadline does not block
	}
}

// wait returns when an aborted request no longer uses its connection.
func (x *exchange) wait() {
	x.mu.Lock()
	over := x.over
	x.mu.Unlock()
	if over != nil {
		<-over
	}
}
