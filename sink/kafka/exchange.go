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

// exchange is one request on its way through the client library's Transport, which lends us its connections, login and
// versions. It goes to a broker that we name: the Transport would choose by its own cached view of the topics, which no
// error refreshes, and would answer a metadata request out of that cache. And it ends when its ctx ends: the
// Transport would let the request go on, so that it could reach the broker after its own retry.
type exchange struct {
	protocol.Message // the request
	broker           int32

	mu      sync.Mutex
	conn    net.Conn      // the request is on it; nil before and after
	aborted bool          // it must not begin any more
	over    chan struct{} // closed when the request has left conn; nil before it began
}

// reply hides the response's type from the Transport, which takes metadata for an answer to its own question.
type reply struct{ protocol.Message }

// anyBroker sends a request to whichever broker the control connection leads to.
const anyBroker = -1

var errAborted = errors.New("request given up")

// roundTrip sends req to the broker and returns the response. When it returns, nothing of req is read any more and it is
// not sent later.
func roundTrip(ctx context.Context, t *kafka.Transport, addr net.Addr, timeout time.Duration, broker int32, req protocol.Message) (protocol.Message, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
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
		return nil, fmt.Errorf("impossible response %T", res)
	}
	return r.Message, nil
}

// Broker routes the request. Called by the Transport.
func (x *exchange) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: x.broker}, nil
}

// Required takes the connection into our hands. Called by the library's connection.
func (x *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange does the round trip. Called by the library's connection, which is closed if it fails.
func (x *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	conn, ok := rw.(*protocol.Conn)
	if !ok {
		return nil, fmt.Errorf("impossible connection %T", rw)
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

// abort breaks the request off, or keeps it from beginning.
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborted = true
	if x.conn != nil {
		_ = x.conn.SetDeadline(time.Unix(1, 0)) // setting a deadline does not block
	}
}

// wait returns when an aborted request has left its connection.
func (x *exchange) wait() {
	x.mu.Lock()
	over := x.over
	x.mu.Unlock()
	if over != nil {
		<-over
	}
}
