package health_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/keystrand/keystrand/source/internal/health"
)

// Each try to connect is made from another port, which is in the error.
func TestErrorsThatDifferInThePortOfOurSideAreTheSame(t *testing.T) {
	var told bytes.Buffer
	h := health.New(slog.New(slog.NewTextHandler(&told, nil)), "kafka")
	reset := func(from, to string) error {
		return fmt.Errorf("handshake: %w", &net.OpError{
			Op: "read", Net: "tcp", Err: syscall.ECONNRESET,
			Source: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)),
		})
	}
	for _, err := range []error{
		reset("10.0.0.1:40001", "10.0.0.9:6650"), reset("10.0.0.1:40002", "10.0.0.9:6650"), reset("[::1]:40003", "10.0.0.9:6650"),
	} {
		h.Fails(t.Context(), "look up topics", err)
	}
	if n := strings.Count(told.String(), "trying again"); n != 1 {
		t.Errorf("one trouble is told %d times:\n%s", n, &told)
	}
	h.Fails(t.Context(), "look up topics", reset("10.0.0.1:40004", "10.0.0.8:6650"))
	if n := strings.Count(told.String(), "trying again"); n != 2 {
		t.Errorf("another broker's is told %d times:\n%s", n-1, &told)
	}
	if err := h.All()[0].Err; !strings.Contains(err.Error(), "40004") {
		t.Errorf("the last error is %v", err)
	}
}
