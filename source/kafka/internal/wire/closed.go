package wire

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// Closed reports whether the broker closed the connection of a request. A broker closes connections that were idle for long
// and those with an expired SASL session, and all when it stops. Another connection may work at once.
func Closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// maxReconnects bounds how often a request is sent again at once. Each time it may meet another connection of the pool that
// the broker has closed.
const maxReconnects = 10

// Reconnects decides whether a request that failed is sent again at once, over another connection. The zero value is for one
// request.
type Reconnects struct{ n int }

// Again reports whether to send the request again at once: the broker closed its connection, and not too often.
func (r *Reconnects) Again(err error) bool {
	if !Closed(err) || r.n == maxReconnects {
		return false
	}
	r.n++
	return true
}

// Reset begins a new request.
func (r *Reconnects) Reset() { r.n = 0 }
