package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// linkEvents are the events of connections, with the time since the first attempt.
func linkEvents(t *testing.T, writes func(l log.Logger)) (heard []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		note := func(addr, text string) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, fmt.Sprint(time.Since(begin), " ", addr, " ", text))
		}
		l := NewLog(slog.New(slog.DiscardHandler), "pulsar://a:6650", Events{
			Connected:   func(addr string) { note(addr, "connected") },
			Unreachable: func(addr string, err error) { note(addr, err.Error()) },
		})
		writes(l.Logger().SubLogger(map[string]any{"remote_addr": &url.URL{Scheme: "pulsar", Host: "a:6650"}}))
		time.Sleep(time.Hour)
		synctest.Wait()
	})
	return heard
}

func TestLogReportsConnectionsAtOnce(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		writes func(l log.Logger)
		want   []string
	}{
		"fast": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Info("TCP connection established")
			l.Info("Connection is ready")
		}, []string{"0s a:6650 connected"}},
		"refused": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.WithError(refused).Warn("Failed to connect to broker.")
		}, []string{"0s a:6650 dial: connection refused"}},
		"refused by the broker": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Warnf("Failed to establish connection with broker: '%s'", "no token")
		}, []string{`0s a:6650 the broker says "no token"`}},
		"no accept": {func(l log.Logger) {
			l.Info("Connecting to broker")
		}, []string{"1s a:6650 no answer to the TCP or TLS handshake within 1s"}},
		"silent, then ready": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Info("TCP connection established")
			time.Sleep(3 * time.Second)
			l.Info("Connection is ready")
		}, []string{"1s a:6650 no answer to Pulsar's first command within 1s", "3s a:6650 connected"}},
		"silent, then tried again": {func(l log.Logger) {
			l.Info("Connecting to broker")
			time.Sleep(500 * time.Millisecond)
			l.Info("Connecting to broker")
		}, []string{"1.5s a:6650 no answer to the TCP or TLS handshake within 1s"}},
	} {
		t.Run(name, func(t *testing.T) {
			if heard := linkEvents(t, c.writes); !slices.Equal(heard, c.want) {
				t.Errorf("events %q, want %q", heard, c.want)
			}
		})
	}
}

func TestClosedLogReportsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(slog.New(slog.DiscardHandler), "pulsar://a:6650", Events{
			Unreachable: func(_ string, err error) { t.Errorf("unreachable: %v", err) },
		})
		line := l.Logger().SubLogger(map[string]any{"remote_addr": "a:6650"})
		line.Info("Connecting to broker")
		l.Close()
		line.Info("Connecting to broker")
		time.Sleep(time.Minute)
	})
}

func TestLimitIsNotABusyLock(t *testing.T) {
	for answer, want := range map[string]bool{
		"server error: ConsumerBusy: Topic reached max consumers limit":        false,
		"server error: ConsumerBusy: Subscription reached max consumers limit": false,
		"server error: ProducerBusy: Topic 't' reached max producers limit":    false,
		"server error: ConsumerBusy: Exclusive consumer is already connected":  true,
		"connection error": false,
	} {
		if busy := Busy(errors.New(answer)); busy != want {
			t.Errorf("Busy(%q) = %v", answer, busy)
		}
	}
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{})
	err := l.Fatal("orders", "billing-owner", errors.New("server error: NotAllowedError: Topic[{persistent://t}] doesn't support Failover sub type"))
	if err == nil || !strings.Contains(err.Error(), "subscriptionTypesEnabled") {
		t.Errorf("Fatal = %v, want subscriptionTypesEnabled", err)
	}
}
