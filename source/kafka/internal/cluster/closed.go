package cluster

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
