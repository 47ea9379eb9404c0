package health_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/source/internal/health"
)

// Each attempt to connect uses another local port, which is in the error.
func TestFailsLogsErrorsThatDifferOnlyInTheLocalPortOnce(t *testing.T) {
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
	if n := strings.Count(told.String(), "operation failed; retrying"); n != 1 {
		t.Errorf("the error was logged %d times, want once:\n%s", n, &told)
	}
	h.Fails(t.Context(), "look up topics", reset("10.0.0.1:40004", "10.0.0.8:6650"))
	if n := strings.Count(told.String(), "operation failed; retrying"); n != 2 {
		t.Errorf("the error of another broker was logged %d times, want once:\n%s", n-1, &told)
	}
	if err := h.All()[0].Err; !strings.Contains(err.Error(), "40004") {
		t.Errorf("All()[0].Err = %v, want the last error", err)
	}
}

func TestFailsLogsOnceAMinuteUntilTheOperationWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		h := health.New(slog.New(slog.NewTextHandler(&told, nil)), "kafka")
		for range 100 {
			h.Fails(t.Context(), "commit", errors.New("no answer"))
			time.Sleep(3 * time.Second)
		}
		time.Sleep(1234567 * time.Nanosecond)
		h.Works(t.Context(), "commit")
		h.Works(t.Context(), "commit")
		if fails, over := strings.Count(told.String(), "failed; retrying"), strings.Count(told.String(), "recovered"); fails != 5 || over != 1 {
			t.Errorf("logged %d failures in five minutes, want 5, and %d recoveries, want 1:\n%s", fails, over, &told)
		}
		if !strings.Contains(told.String(), " after=5m0.001s\n") {
			t.Errorf("the recovery has no duration in milliseconds:\n%s", &told)
		}
		h.Fails(t.Context(), "commit", errors.New("no answer"))
		if fails := strings.Count(told.String(), "failed; retrying"); fails != 6 {
			t.Errorf("logged %d failures, want 6: the next one is news", fails)
		}
	})
}

// Attempts that take turns between brokers log the error of each once a minute.
func TestFailsLogsErrorsThatTakeTurnsOnceAMinuteEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := health.New(slog.New(slog.NewTextHandler(&out, nil)), "kafka")
		for i := range 301 { // five minutes
			h.Fails(t.Context(), "topics", errors.New([]string{"no route to a", "no route to b", "b disconnected"}[i%3]))
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "\n"); n != 3*5+1 {
			t.Errorf("%d lines, want each of three errors once a minute:\n%s", n, out.String())
		}
	})
}
